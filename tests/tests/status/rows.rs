//! Outcomes without an exit code, with their messages.

use crate::env::{StatusEnv, message, session};
use serde_json::{Value, json};
use workflow_contract::Exit;
use workflow_contract::names::{INIT_CONTAINER, runner_pod};
use workflow_tests::kubelet;
use workflow_tests::session::SessionView;

fn ours(state: &Value) -> Value {
    json!({"name": INIT_CONTAINER, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn hydrate_failed() -> Value {
    let state = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    json!({"name": "init-hydrate", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_evictions_preemptions_and_start_failures() -> anyhow::Result<()> {
    let waiting =
        |reason: &str, message: &str| ours(&json!({"waiting": {"reason": reason, "message": message}}));
    let evicted =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    let drained = json!({"phase": "Failed", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"},
    ]});
    let node_gone = json!({"phase": "Pending", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "m"},
    ]});
    let hydrate = json!({"phase": "Failed", "initContainerStatuses": [
        hydrate_failed(), waiting("PodInitializing", ""),
    ]});
    let config = json!({"phase": "Pending", "initContainerStatuses": [
        waiting("CreateContainerConfigError", "secret \"x\" not found"),
    ]});
    let rows = [
        ("evicted", evicted, "Interrupted", "Evicted: The node was low on resource: memory."),
        ("preempted", drained, "Interrupted", "PreemptionByScheduler: preempted"),
        ("node-gone", node_gone, "Interrupted", "its node is gone"),
        ("hydrate", hydrate, "Interrupted", "its init container init-hydrate failed before (exit 3)"),
        ("config", config, "ContainerFailed", "CreateContainerConfigError: secret \"x\" not found"),
    ];
    let env = StatusEnv::new("rows").await?;
    let replica = env.replica(true).await?;
    for (name, status, reason, words) in &rows {
        env.manual.begin(session(name)).await?;
        env.reason(name, "Fetching").await?;
        kubelet::report(&env.manual.pods(), &runner_pod(name), status).await?;
        let condition = env.reason(name, reason).await?;
        assert!(condition.message.contains(words), "{name}: {}", condition.message);
        assert_eq!((condition.status.as_str(), condition.observed_generation), ("False", Some(1)), "{name}");
        assert_eq!(env.until_event(name, "WorkflowFailed").await?, ["WorkflowFailed"], "{name}");
        let since = condition.last_transition_time;
        env.manual.delete_pod(name).await?;
        env.sync_marker(&format!("after-{name}")).await?;
        let after = env.reason(name, reason).await?;
        assert_eq!((after.last_transition_time, after.message.contains(words)), (since, true), "{name}");
    }
    assert_eq!(
        replica.written_by_now(3 * rows.len()).await,
        3 * rows.len(),
        "Fetching, the outcome, and a marker each"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_pods_deleted_while_fetching_as_interrupted() -> anyhow::Result<()> {
    let env = StatusEnv::new("cut-short").await?;
    let _replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    env.manual.delete_pod("s").await?;
    let condition = env.reason("s", "Interrupted").await?;
    assert!(condition.message.contains("it was deleted; restart the session"), "{}", condition.message);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_pods_that_bypassed_admission_without_a_record() -> anyhow::Result<()> {
    let env = StatusEnv::new("past").await?;
    let _replica = env.replica(true).await?;
    // Creation times are whole seconds: a registration in the same second is not older.
    env.until_younger_than_registration().await?;
    let made = env.manual.create(session("s")).await?;
    env.manual.create_bare_pod(&made).await?;
    let start = jiff::Timestamp::now().round(jiff::Unit::Second)?;
    env.manual.set_status("s", json!({"phase": "Running", "startTime": start})).await?;
    let condition = env.reason("s", "NotInjected").await?;
    assert_eq!((condition.status.as_str(), condition.observed_generation), ("False", None));
    assert!(condition.message.contains("restart the session to have it delivered"), "{}", condition.message);
    assert_eq!(env.manual.sessions().get("s").await?.reconciled_workflow(), None);
    assert_eq!(env.until_event("s", "WorkflowNotInjected").await?, ["WorkflowNotInjected"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_over_for_each_pod_of_a_session() -> anyhow::Result<()> {
    let env = StatusEnv::new("next-pod").await?;
    let replica = env.replica(true).await?;
    let begun = env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    let first = env.reason("s", "Reconciled").await?;
    env.manual.delete_pod("s").await?;
    env.manual.create_pod(&begun).await?;
    env.reason("s", "Fetching").await?;
    env.manual.end("s", 34, "Error", &message(Exit::Timeout, "too slow")).await?;
    let second = env.reason("s", "Timeout").await?;
    assert_eq!((first.status.as_str(), second.status.as_str()), ("True", "False"));
    assert_eq!(replica.written_by_now(4).await, 4, "two for each pod");
    Ok(())
}
