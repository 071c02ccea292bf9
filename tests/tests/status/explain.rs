//! `explain` reads a session's objects from the API server, also with few permissions. Its rows are tested beside it.

use std::process::ExitCode;

use anyhow::ensure;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::PostParams;
use serde_json::json;
use workflow_contract::Exit;
use workflow_injector::cli::explain::{self, Args};
use workflow_tests::api_server;

use crate::env::{COMMIT, StatusEnv, message, session};

const NAMESPACE: &str = "explain";

/// Runs `explain` and returns its output.
async fn explained(client: &Client, session: &str, settled: bool) -> anyhow::Result<String> {
    let args = Args { namespace: Some(NAMESPACE.to_owned()), session: session.to_owned() };
    let mut out = Vec::new();
    let code = explain::run(client.clone(), &args, &mut out).await?;
    let report = String::from_utf8(out)?;
    let expected = if settled { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    ensure!(code == expected, "{code:?} for {session}:\n{report}");
    Ok(report)
}

#[track_caller]
fn expect(report: &str, words: &[&str]) {
    for words in words {
        assert!(report.contains(words), "no `{words}` in\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explains_a_session_as_far_as_the_user_may_read_it() -> anyhow::Result<()> {
    let env = StatusEnv::new(NAMESPACE).await?;
    env.until_younger_than_registration().await?;
    let _replica = env.replica(true).await?;
    let manual = &env.manual;

    manual.begin(session("good")).await?;
    env.reason("good", "Fetching").await?;
    let report = explained(&env.client, "good", false).await?;
    expect(
        &report,
        &["pod good-runner created, injected with https://git.example/o/r.git (main, a)", "wait until"],
    );
    manual.end("good", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    env.reason("good", "Reconciled").await?;
    env.until_event("good", "WorkflowDelivered").await?;
    let report = explained(&env.client, "good", true).await?;
    let event = format!("Event WorkflowDelivered on the session: delivered {COMMIT}");
    expect(&report, &["init container init-workflow ended with exit code 0 (Reconciled)", &event]);

    // The pod is gone, as the platform leaves it.
    manual.begin(session("bad")).await?;
    env.reason("bad", "Fetching").await?;
    manual.end("bad", 22, "Error", &message(Exit::RefNotFound, "no branch")).await?;
    manual.note_failure("bad", "Init container init-workflow failed (exit 22): no branch - Error").await?;
    env.reason("bad", "RefNotFound").await?;
    let words = [
        "there is no pod bad-runner",
        "WorkflowReconciled=False/RefNotFound \"no branch\" (by workflow-injector)",
        "the workflow is not delivered: RefNotFound",
        "start the session again",
    ];
    expect(&explained(&env.client, "bad", false).await?, &words);

    let error = explained(&env.client, "missing", false).await.unwrap_err().to_string();
    assert!(error.contains("there is no session explain/missing"), "{error}");

    let report = explained(&support(&env).await?, "bad", false).await?;
    expect(&report, &["unreadable            the registration, pods, Events: you lack", "RefNotFound"]);
    Ok(())
}

/// A client of a user who may only read sessions.
async fn support(env: &StatusEnv) -> anyhow::Result<Client> {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "support"},
        "rules": [{"apiGroups": ["vteam.ambient-code"], "resources": ["agenticsessions"], "verbs": ["get"]}],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "support"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "support"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "support"}],
    }))?;
    let namespace = env.manual.namespace();
    namespace.api().create(&PostParams::default(), &role).await?;
    namespace.api().create(&PostParams::default(), &binding).await?;
    let mut config = api_server::server()?.config().await?;
    config.auth_info.impersonate = Some("support".to_owned());
    Ok(Client::try_from(config)?)
}
