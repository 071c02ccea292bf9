//! No outcome is lost to faults between the controller and the API server.

use crate::env::{StatusEnv, message, session};
use kube::api::{Api, DeleteParams};
use serde_json::json;
use workflow_contract::Exit;
use workflow_tests::api_server;
use workflow_tests::faults::Put;
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;

const NO_BRANCH: &str = "no such branch";

fn no_branch() -> String {
    message(Exit::RefNotFound, NO_BRANCH)
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outcomes_after_expired_watches() -> anyhow::Result<()> {
    let env = StatusEnv::new("expired").await?;
    let (replica, faults) = env.replica_with_faults(true).await?;
    let manual = &env.manual;
    for name in ["there", "noted", "stopped"] {
        manual.begin(session(name)).await?;
        env.reason(name, "Fetching").await?;
    }
    faults.blind(true);
    manual.begin(session("new")).await?;
    for name in ["there", "noted", "stopped", "new"] {
        manual.end(name, 22, "Error", &no_branch()).await?;
    }
    let note = format!("Init container init-workflow failed (exit 22): {} - Error", no_branch());
    manual.note_failure("noted", &note).await?;
    manual.note_failure("new", &note).await?;
    manual.delete_pod("stopped").await?;
    manual.set_status("stopped", json!({"phase": "Stopped"})).await?;
    faults.expire(&["pods", "agenticsessions"]);
    faults.blind(false);
    for name in ["there", "noted", "new"] {
        assert_eq!(env.reason(name, "RefNotFound").await?.message, NO_BRANCH, "{name}");
    }
    assert_eq!(env.reason("stopped", "OutcomeUnknown").await?.status, "Unknown");
    env.sync_marker("marker").await?;
    assert!(faults.all_expired());
    assert_eq!(
        replica.written_by_now(3 + 4 + 1).await,
        3 + 4 + 1,
        "each was Fetching but the new one, and then its outcome was written once; and the marker"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outcomes_after_a_restart_of_the_api_server() -> anyhow::Result<()> {
    let env = StatusEnv::new("restarted").await?;
    let (replica, faults) = env.replica_with_faults(true).await?;
    let names: Vec<_> = (0..10).map(|at| format!("s-{at}")).collect();
    for name in &names {
        env.manual.begin(session(name)).await?;
        env.reason(name, "Fetching").await?;
    }
    // Half of them end unobserved, so that the new server's watch cache is younger than the requested resourceVersion.
    faults.blind(true);
    let (before, after) = names.split_at(5);
    for name in before {
        env.manual.end(name, 22, "Error", &no_branch()).await?;
    }
    api_server::server()?.restart().await?;
    for name in after {
        env.manual.end(name, 22, "Error", &no_branch()).await?;
    }
    faults.blind(false);
    for name in &names {
        env.reason(name, "RefNotFound").await?;
    }
    assert_eq!(replica.written_by_now(2 * names.len()).await, 2 * names.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn next_leader_publishes_the_event_of_a_killed_leader_once() -> anyhow::Result<()> {
    let env = StatusEnv::new("half-way").await?;
    let (first, faults) = env.replica_with_faults(true).await?;
    let second = env.replica(false).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    faults.next_put(Put::HoldResponse);
    env.manual.end("s", 22, "Error", &no_branch()).await?;
    env.manual.delete_pod("s").await?;
    faults.held().await;
    first.kill().await;
    env.reason("s", "RefNotFound").await?;
    assert_eq!(env.events("s").await?, [""; 0], "its Event was not made any more");
    second.lead(true);
    env.until_event("s", "WorkflowFailed").await?;
    second.kill().await;

    let third = env.replica(true).await?;
    env.sync_marker("marker").await?;
    assert_eq!(env.events("s").await?, ["WorkflowFailed"]);
    assert_eq!(third.written_by_now(1).await, 1, "the marker");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_the_event_of_a_write_without_a_response() -> anyhow::Result<()> {
    let env = StatusEnv::new("response-lost").await?;
    let (replica, faults) = env.replica_with_faults(true).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    faults.next_put(Put::LoseResponse);
    env.manual.end("s", 22, "Error", &no_branch()).await?;
    env.reason("s", "RefNotFound").await?;
    assert_eq!(env.until_event("s", "WorkflowFailed").await?, ["WorkflowFailed"]);
    assert_eq!(
        (replica.written(), replica.failures()),
        (1, 1),
        "Fetching; what was written was not written again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_lost_during_a_write_ends_in_one_conflict() -> anyhow::Result<()> {
    let env = StatusEnv::new("mid-write").await?;
    let (first, faults) = env.replica_with_faults(true).await?;
    let second = env.replica(false).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    faults.next_put(Put::HoldRequest);
    env.manual.end("s", 22, "Error", &no_branch()).await?;
    env.manual.delete_pod("s").await?;
    faults.held().await;
    first.lead(false);
    second.lead(true);
    env.reason("s", "RefNotFound").await?;
    faults.release();
    while first.conflicts() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    env.sync_marker("marker").await?;
    assert_eq!(
        (first.written(), second.written_by_now(2).await),
        (1, 2),
        "Fetching; the outcome and the marker"
    );
    assert_eq!(env.until_event("s", "WorkflowFailed").await?, ["WorkflowFailed"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ignores_sessions_and_namespaces_being_deleted() -> anyhow::Result<()> {
    let env = StatusEnv::new("going").await?;
    let replica = env.replica(true).await?;
    let manual = &env.manual;
    for name in ["s", "t"] {
        manual.begin(session(name)).await?;
        env.reason(name, "Fetching").await?;
    }
    manual.sessions().delete("t", &DeleteParams::default()).await?;
    manual.end("t", 22, "Error", &no_branch()).await?;
    // No controller empties the namespace here, so it stays while its objects are deleted.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(env.client.clone());
    namespaces.delete(&manual.namespace().name, &DeleteParams::default()).await?;
    manual.end("s", 22, "Error", &no_branch()).await?;
    env.reason("s", "RefNotFound").await?;
    manual.delete_pod("s").await?;
    manual.sessions().delete("s", &DeleteParams::default()).await?;

    let next = ManualOperator::new(TestNamespace::named(manual.cluster().clone(), "staying").await?);
    let next = env.on(next);
    next.manual.begin(session("s")).await?;
    next.reason("s", "Fetching").await?;
    assert_eq!(replica.written_by_now(4).await, 4, "three times Fetching and one outcome");
    assert!(replica.failures() <= 1, "an Event was denied, and not tried again");
    Ok(())
}
