//! A failure ends the session with a reason and a message with the remedy, and the runner never runs. One failure of each
//! kind is tested here: source, policy, server, reference; init-fetcher's own tests cover every exit code.

use workflow_contract::Exit;
use workflow_git_server::Settings;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until};

const USER: &str = "reader";
const PASSWORD: &str = "correct-horse";

/// An environment whose git server has a public repository `acme/flow` and one that needs a password.
async fn mk_env(namespace: TestNamespace) -> anyhow::Result<TestEnv> {
    let env = TestEnv::with_git(namespace, Mode::PostRunning, |settings: Settings| {
        settings.password("private", USER, PASSWORD)
    })
    .await?;
    env.git.repository("acme/flow").file("prompts/system.md", "Be kind.\n").create()?;
    env.git.repository("private/flow").file("README.md", "secret\n").create()?;
    Ok(env)
}

/// Creates the session `s`, waits for its failure and returns the condition.
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
    let platforms_message =
        format!("Init container init-workflow failed (exit {}): {}", exit.code(), condition.message);
    assert!(ready.starts_with(&platforms_message), "{ready}\nshould start with\n{platforms_message}");
    // The operator deletes the pod; the outcome is not lost with it.
    until(&env.pods(), "s-runner", "deletion of the pod", TIMEOUT, |pod| pod.is_none()).await?;
    Ok(condition)
}

#[tokio::test]
async fn suggests_the_branch_for_a_misspelt_one() {
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
async fn reports_an_invalid_url() {
    with_namespace(|namespace| async move {
        let env = mk_env(namespace).await?;
        failure(&env, SessionBuilder::new("s").workflow("not a url", "main"), Exit::InvalidSource).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reports_a_scheme_that_the_policy_does_not_allow() {
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
async fn reports_a_wrong_password_without_showing_it() {
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
