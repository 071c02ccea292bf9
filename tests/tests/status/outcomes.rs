//! Outcomes of init containers reach the session, whatever happens to the pod.

use std::collections::HashSet;

use crate::env::{COMMIT, StatusEnv, URL, message, session};
use futures::{TryStreamExt, stream};
use jiff::{Timestamp, ToSpan};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use workflow_contract::Exit;
use workflow_tests::manual_operator;
use workflow_tests::session::{Session, SessionBuilder, SessionView};
use workflow_tests::wait::{self, TIMEOUT};

/// Exit codes that init-fetcher does not use, with the kubelet's reason and the condition's.
const OTHERS: [(i32, &str, &str); 5] = [
    (1, "Error", "FetchFailed"),
    (137, "Error", "FetchFailed"),
    (143, "Error", "FetchFailed"),
    (137, "OOMKilled", "OutOfMemory"),
    (128, "StartError", "ContainerFailed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn reports_each_exit_code_of_pods_deleted_at_once() -> anyhow::Result<()> {
    let env = StatusEnv::new("exit-codes").await?;
    let replica = env.replica(true).await?;
    let table = Exit::ALL.iter().map(|exit| (i32::from(exit.code()), "Error", exit.reason()));
    let cases: Vec<_> = table.chain(OTHERS).collect();
    stream::iter(cases.iter().enumerate().map(Ok))
        .try_for_each_concurrent(8, |(at, (code, reason, _))| {
            let manual = env.manual.clone();
            async move {
                let name = format!("s-{at}");
                let message = Exit::from_code(*code).map(|exit| message(exit, "line 1")).unwrap_or_default();
                manual.begin(session(&name)).await?;
                manual.end(&name, *code, reason, &message).await?;
                manual.delete_pod(&name).await
            }
        })
        .await?;
    for (at, (code, _, reason)) in cases.iter().enumerate() {
        let condition = env.reason(&format!("s-{at}"), reason).await?;
        let expected = if *code == 0 { "True" } else { "False" };
        assert_eq!(
            (condition.status.as_str(), condition.observed_generation),
            (expected, Some(1)),
            "{reason}"
        );
        if Exit::from_code(*code).is_some_and(|exit| exit != Exit::Reconciled) {
            assert_eq!(condition.message, "line 1", "{reason}");
        }
    }
    assert!(replica.written() <= 2 * cases.len(), "{} writes", replica.written());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_every_outcome_of_a_thousand_pods_deleted_at_once() -> anyhow::Result<()> {
    const PODS: usize = 1000;
    let env = StatusEnv::new("deleted-at-once").await?;
    let replica = env.replica(true).await?;
    let names: HashSet<String> = (0..PODS).map(|at| format!("s-{at}")).collect();
    stream::iter(names.iter().map(Ok))
        .try_for_each_concurrent(16, |name| {
            let manual = env.manual.clone();
            async move {
                manual.begin(session(name)).await?;
                manual.end(name, 22, "Error", &message(Exit::RefNotFound, "no such branch")).await?;
                manual.delete_pod(name).await
            }
        })
        .await?;
    let right = |session: &Session| {
        session
            .workflow_reconciled()
            .is_some_and(|c| c.reason == "RefNotFound" && c.message == "no such branch")
    };
    env.all(names, right).await?;
    assert!(replica.written() <= 2 * PODS, "{} writes", replica.written());
    assert_eq!(replica.conflicts(), 0, "the only writer after phase Creating");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_delivery_with_its_record_and_one_event() -> anyhow::Result<()> {
    let env = StatusEnv::new("delivered").await?;
    let replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    let fetching = env.reason("s", "Fetching").await?;
    assert_eq!(fetching.status, "Unknown");
    env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    let condition = env.reason("s", "Reconciled").await?;
    assert_eq!(condition.message, format!("delivered {COMMIT} (main) to /workspace/workflows/r"));
    let session = env.manual.sessions().get("s").await?;
    let recorded = session.reconciled_workflow().unwrap_or_default();
    assert_eq!(
        (recorded.git_url.as_str(), recorded.branch.as_str(), recorded.path.as_str()),
        (URL, "main", "a")
    );
    assert_eq!((recorded.status.as_str(), recorded.applied_at.is_empty()), ("Active", false));
    replica.kill().await;

    // No second Event after a restart, even if the condition is written again.
    let theirs =
        json!({"conditions": [{"type": "WorkflowReconciled", "status": "False", "reason": "UpdateFailed"}]});
    env.manual.set_status("s", theirs).await?;
    let replica = env.replica(true).await?;
    env.reason("s", "Reconciled").await?;
    env.sync_marker("marker").await?;
    assert_eq!(replica.written_by_now(2).await, 2, "the correction and the marker");
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(env.client.clone(), &session.namespace().unwrap_or_default());
    let reasons: Vec<_> = events.list(&kube::api::ListParams::default()).await?.items;
    let reasons: Vec<_> = reasons.iter().map(|event| event.reason.clone().unwrap_or_default()).collect();
    assert_eq!(reasons, ["WorkflowDelivered"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_failed_image_pull_once() -> anyhow::Result<()> {
    let env = StatusEnv::new("no-image").await?;
    let replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    for attempt in 0..5 {
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            let message = format!("{reason} {attempt}");
            let waiting = json!({"waiting": {"reason": reason, "message": message}});
            env.manual.report("s", "Pending", waiting).await?;
            env.reason("s", "ImagePullFailed").await?;
        }
    }
    env.sync_marker("marker").await?;
    assert_eq!(replica.written_by_now(3).await, 3, "Fetching, ImagePullFailed and the marker");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_unobserved_outcomes_from_the_ready_message() -> anyhow::Result<()> {
    let env = StatusEnv::new("unseen").await?;
    for (name, phase) in [("noted", "Failed"), ("stopped", "Stopped")] {
        env.manual.begin(session(name)).await?;
        env.manual.delete_pod(name).await?;
        let note = message(Exit::PathNotFound, "no directory `a`");
        let note = format!("Init container init-workflow failed (exit 23): {note} - Error");
        let ready = json!([{"type": "Ready", "status": "False", "reason": "PodFailed", "message": note}]);
        env.manual.set_status(name, json!({"phase": phase, "conditions": ready})).await?;
    }
    let _replica = env.replica(true).await?;
    let noted = env.reason("noted", "PathNotFound").await?;
    assert_eq!((noted.message.as_str(), noted.observed_generation), ("no directory `a`", Some(1)));
    assert_eq!(env.reason("stopped", "OutcomeUnknown").await?.status, "Unknown");
    let session = env.manual.sessions().get("noted").await?;
    assert!(session.condition("Ready").is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_write_sessions_of_others() -> anyhow::Result<()> {
    let env = StatusEnv::new("untouched").await?;
    let _replica = env.replica(true).await?;
    let manual = &env.manual;
    let early = manual.create(session("early")).await?;
    manual.create_pod(&early).await?;
    manual.end("early", 22, "Error", "x").await?;

    let before = Timestamp::now() - 1.hour();
    let old = manual.create(session("old")).await?;
    manual.create_bare_pod(&old).await?;
    manual.set_status("old", json!({"phase": "Running", "startTime": before.to_string()})).await?;
    manual.begin(SessionBuilder::new("bare").build()).await?;
    let out = SessionBuilder::new("out").workflow(URL, "main").without_injection().build();
    manual.begin(out).await?;
    manual.end("out", 22, "Error", "x").await?;

    env.sync_marker("marker").await?;
    for name in ["early", "bare", "out", "old"] {
        let session = manual.sessions().get(name).await?;
        assert_eq!(session.workflow_reconciled(), None, "{name}");
    }
    let early = manual.sessions().get("early").await?;
    assert_eq!(early.start_time(), None, "not written before the operator's first write");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_restart_required_after_the_change_is_reverted() -> anyhow::Result<()> {
    let env = StatusEnv::new("changed").await?;
    let replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    env.reason("s", "Reconciled").await?;
    for path in ["b", "a"] {
        let patch = Patch::Merge(json!({"spec": {"activeWorkflow": {"path": path}}}));
        env.manual.sessions().patch("s", &PatchParams::default(), &patch).await?;
        let what = format!("RestartRequired for {path}");
        let holds = |session: &Session| {
            let recorded = session.reconciled_workflow().is_some_and(|recorded| recorded.path == path);
            recorded && session.workflow_reconciled().is_some_and(|c| c.reason == "RestartRequired")
        };
        let session = wait::until_exists(&env.manual.sessions(), "s", &what, TIMEOUT, holds).await?;
        assert_eq!(session.workflow_reconciled().unwrap_or_default().observed_generation, Some(1));
    }
    // A replica that has just started corrects another writer, too.
    replica.kill().await;
    let theirs =
        json!({"conditions": [{"type": "WorkflowReconciled", "status": "True", "reason": "Reconciled"}]});
    env.manual.set_status("s", theirs).await?;
    let _replica = env.replica(true).await?;
    env.reason("s", "RestartRequired").await?;
    let patch = Patch::Merge(json!({"spec": {"activeWorkflow": null}}));
    env.manual.sessions().patch("s", &PatchParams::default(), &patch).await?;
    assert_eq!(env.reason("s", "NotConfigured").await?.status, "True");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outcomes_after_the_registration_was_recreated() -> anyhow::Result<()> {
    let env = StatusEnv::new("made-anew").await?;
    let _replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    manual_operator::unregister(env.client.clone()).await?;
    let started = Timestamp::now().as_second();
    while Timestamp::now().as_second() == started {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    manual_operator::register(env.client.clone()).await?;
    // This one has received only the new registration.
    let _second = env.replica(true).await?;
    env.manual.end("s", 22, "Error", &message(Exit::RefNotFound, "no such branch")).await?;
    env.reason("s", "RefNotFound").await?;
    Ok(())
}
