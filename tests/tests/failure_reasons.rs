//! Each failure ends the session with a reason and a message that says what to do, and the runner never runs.
//!
//! The reason `Timeout` is left to init-fetcher's own tests: here it would cost the two minutes of the default limit.

use std::net::TcpListener;

use workflow_contract::Exit;
use workflow_git_server::Settings;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until};

const USER: &str = "reader";
const PASSWORD: &str = "correct-horse";

/// A env whose git server has an open repository `acme/flow`, one behind a password, and a web site.
async fn mk_env(namespace: TestNamespace) -> anyhow::Result<TestEnv> {
    let env = TestEnv::with_git(namespace, Mode::PostRunning, |settings: Settings| {
        settings.password("private", USER, PASSWORD).answer(
            "site",
            200,
            &[("Content-Type", "text/html")],
            "<html>Welcome</html>\n",
        )
    })
    .await?;
    env.git.repository("acme/flow").file("prompts/system.md", "Be kind.\n").create()?;
    env.git.repository("private/flow").file("README.md", "secret\n").create()?;
    Ok(env)
}

/// Runs the session called `s` to its failure and gives the condition.
async fn failure(env: &TestEnv, session: SessionBuilder, exit: Exit) -> anyhow::Result<Condition> {
    env.create(session).await?;
    let what = format!("the session to fail with {exit}");
    let failed = env
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
    until(&env.pods(), "s-runner", "the pod to go", PATIENCE, |pod| pod.is_none()).await?;
    Ok(condition)
}

#[tokio::test]
async fn a_misspelt_branch_is_not_found_and_the_right_one_is_suggested() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&env.git.url("acme/flow.git"), "mian");
        let condition = failure(&env, session, Exit::RefNotFound).await?;
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
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow_path(&env.git.url("acme/flow.git"), "main", "promts");
        let condition = failure(&env, session, Exit::PathNotFound).await?;
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
        let env = mk_env(namespace).await?;
        failure(&env, SessionBuilder::new("s").workflow("not a url", "main"), Exit::InvalidSource).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_directory_outside_the_repository_is_an_invalid_source() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow_path(&env.git.url("acme/flow.git"), "main", "../etc");
        failure(&env, session, Exit::InvalidSource).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_scheme_outside_the_policy_is_not_allowed() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let url = env.git.url("acme/flow.git").replacen("https:", "http:", 1);
        let condition =
            failure(&env, SessionBuilder::new("s").workflow(&url, "main"), Exit::HostNotAllowed).await?;
        assert!(condition.message.contains("http"), "{}", condition.message);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repository_behind_a_password_needs_one() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&env.git.url("private/flow.git"), "main");
        failure(&env, session, Exit::AuthenticationFailed).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_shown_nowhere() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let url = env.git.url("private/flow.git").replacen("://", &format!("://{USER}:wrong-{PASSWORD}@"), 1);
        failure(&env, SessionBuilder::new("s").workflow(&url, "main"), Exit::AuthenticationFailed).await?;
        let session = env.sessions().get("s").await?;
        let conditions = session.data["status"]["conditions"].to_string();
        assert!(!conditions.contains(PASSWORD), "{conditions}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_not_found() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&env.git.url("acme/none.git"), "main");
        failure(&env, session, Exit::RepositoryNotFound).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let address = TcpListener::bind((env.git.address().ip(), 0))?.local_addr()?;
        let url = format!("https://{address}/acme/flow.git");
        // The fetcher tries for up to half a minute.
        failure(&env, SessionBuilder::new("s").workflow(&url, "main"), Exit::ServerUnreachable).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_web_site_is_not_a_git_server() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        let session = SessionBuilder::new("s").workflow(&env.git.url("site/flow.git"), "main");
        failure(&env, session, Exit::ServerError).await?;
        Ok(())
    })
    .await;
}
