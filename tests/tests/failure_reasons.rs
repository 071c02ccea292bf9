//! Each failure ends the session with a reason and a message that says what to do, and the runner never runs.
//!
//! The reason `Timeout` is left to init-fetcher's own tests: here it would cost the two minutes of the default limit.

use std::net::TcpListener;

use workflow_contract::Exit;
use workflow_git_server::Settings;
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, Phase, SessionBuilder, SessionView};
use workflow_tests::stage::Stage;
use workflow_tests::wait::{PATIENCE, until};

const USER: &str = "reader";
const PASSWORD: &str = "correct-horse";

/// A stage whose git server has an open repository `acme/flow`, one behind a password, and a web site.
async fn mk_stage(namespace: TestNamespace) -> anyhow::Result<Stage> {
    let stage = Stage::with_git(namespace, Mode::PostRunning, |settings: Settings| {
        settings.password("private", USER, PASSWORD).answer(
            "site",
            200,
            &[("Content-Type", "text/html")],
            "<html>Welcome</html>\n",
        )
    })
    .await?;
    stage.git.repository("acme/flow").file("prompts/system.md", "Be kind.\n").create()?;
    stage.git.repository("private/flow").file("README.md", "secret\n").create()?;
    Ok(stage)
}

/// Runs the session called `s` to its failure and gives the condition.
async fn failure(stage: &Stage, session: SessionBuilder, exit: Exit) -> anyhow::Result<Condition> {
    stage.create(session).await?;
    let what = format!("the session to fail with {exit}");
    let failed = stage
        .session_until("s", &what, |session| {
            let reason = session.workflow_reconciled().map(|condition| condition.reason);
            session.phase() == Some(Phase::Failed) && reason.as_deref() == Some(exit.reason())
        })
        .await?;
    let condition = failed.workflow_reconciled().unwrap_or_default();
    assert_eq!(condition.status, "False");
    assert_eq!(condition.observed_generation, failed.metadata.generation);
    assert_eq!(failed.condition("RunnerStarted"), None, "the runner ran");
    assert_eq!(failed.reconciled_workflow().unwrap_or_default().status, "Failed");
    let ready = failed.condition("Ready").unwrap_or_default().message;
    let platforms_words =
        format!("Init container init-workflow failed (exit {}): {}", exit.code(), condition.message);
    assert!(ready.starts_with(&platforms_words), "{ready}\nshould start with\n{platforms_words}");
    // The platform has taken the pod away; the outcome is not lost with it.
    until(&stage.pods(), "s-runner", "the pod to go", PATIENCE, |pod| pod.is_none()).await?;
    Ok(condition)
}

#[tokio::test]
async fn a_misspelt_branch_is_not_found_and_the_right_one_is_suggested() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&stage.git.url("acme/flow.git"), "mian");
        let condition = failure(&stage, session, Exit::RefNotFound).await?;
        assert!(
            condition.message.contains("mian") && condition.message.contains("main"),
            "{}",
            condition.message
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_misspelt_directory_is_not_found_and_the_right_one_is_suggested() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session =
            SessionBuilder::new("s").workflow_path(&stage.git.url("acme/flow.git"), "main", "promts");
        let condition = failure(&stage, session, Exit::PathNotFound).await?;
        assert!(
            condition.message.contains("promts") && condition.message.contains("prompts"),
            "{}",
            condition.message
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_url_that_is_none_is_an_invalid_source() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        failure(&stage, SessionBuilder::new("s").workflow("not a url", "main"), Exit::InvalidSource).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_directory_outside_the_repository_is_an_invalid_source() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session =
            SessionBuilder::new("s").workflow_path(&stage.git.url("acme/flow.git"), "main", "../etc");
        failure(&stage, session, Exit::InvalidSource).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_scheme_outside_the_policy_is_not_allowed() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let url = stage.git.url("acme/flow.git").replacen("https:", "http:", 1);
        let condition =
            failure(&stage, SessionBuilder::new("s").workflow(&url, "main"), Exit::HostNotAllowed).await?;
        assert!(condition.message.contains("http"), "{}", condition.message);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repository_behind_a_password_needs_one() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&stage.git.url("private/flow.git"), "main");
        failure(&stage, session, Exit::AuthenticationFailed).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_shown_nowhere() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let url =
            stage.git.url("private/flow.git").replacen("://", &format!("://{USER}:wrong-{PASSWORD}@"), 1);
        failure(&stage, SessionBuilder::new("s").workflow(&url, "main"), Exit::AuthenticationFailed).await?;
        let session = stage.sessions().get("s").await?;
        let conditions = session.data["status"]["conditions"].to_string();
        assert!(!conditions.contains(PASSWORD), "{conditions}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_not_found() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&stage.git.url("acme/none.git"), "main");
        failure(&stage, session, Exit::RepositoryNotFound).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let address = TcpListener::bind((stage.git.address().ip(), 0))?.local_addr()?;
        let url = format!("https://{address}/acme/flow.git");
        // The fetcher tries for up to half a minute.
        failure(&stage, SessionBuilder::new("s").workflow(&url, "main"), Exit::ServerUnreachable).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_web_site_is_not_a_git_server() {
    with_namespace(|namespace| async move {
        let stage = mk_stage(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&stage.git.url("site/flow.git"), "main");
        failure(&stage, session, Exit::ServerError).await?;
        Ok(())
    })
    .await;
}
