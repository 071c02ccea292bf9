//! What becomes of an init container reaches the session, on a real API server, whatever happens to the pod.

mod controller;

use std::collections::HashSet;

use controller::{COMMIT, Stage, URL, message, session};
use futures::{TryStreamExt, stream};
use jiff::{Timestamp, ToSpan};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use workflow_contract::Exit;
use workflow_tests::session::{SessionBuilder, SessionView};

/// Codes that are none of init-fetcher's, with the kubelet's reason and ours.
const OTHERS: [(i32, &str, &str); 5] = [
    (1, "Error", "FetchFailed"),
    (137, "Error", "FetchFailed"),
    (143, "Error", "FetchFailed"),
    (137, "OOMKilled", "OutOfMemory"),
    (128, "StartError", "ContainerFailed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_code_becomes_its_reason_even_when_the_pod_is_deleted_at_once() -> anyhow::Result<()> {
    let stage = Stage::set("exit-codes").await?;
    let replica = stage.replica(true).await?;
    let table = Exit::ALL.iter().map(|exit| (i32::from(exit.code()), "Error", exit.reason()));
    let cases: Vec<_> = table.chain(OTHERS).collect();
    stream::iter(cases.iter().enumerate().map(Ok))
        .try_for_each_concurrent(8, |(at, (code, reason, _))| {
            let driver = stage.driver.clone();
            async move {
                let name = format!("s-{at}");
                let said = Exit::from_code(*code).map(|exit| message(exit, "line 1")).unwrap_or_default();
                driver.begin(session(&name)).await?;
                driver.end(&name, *code, reason, &said).await?;
                driver.delete_pod(&name).await
            }
        })
        .await?;
    for (at, (code, _, reason)) in cases.iter().enumerate() {
        let condition = stage.reason(&format!("s-{at}"), reason).await?;
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
async fn no_outcome_of_a_thousand_pods_deleted_at_once_is_lost() -> anyhow::Result<()> {
    const PODS: usize = 1000;
    let stage = Stage::set("deleted-at-once").await?;
    let replica = stage.replica(true).await?;
    let names: HashSet<String> = (0..PODS).map(|at| format!("s-{at}")).collect();
    stream::iter(names.iter().map(Ok))
        .try_for_each_concurrent(16, |name| {
            let driver = stage.driver.clone();
            async move {
                driver.begin(session(name)).await?;
                driver.end(name, 22, "Error", &message(Exit::RefNotFound, "no such branch")).await?;
                driver.delete_pod(name).await
            }
        })
        .await?;
    let right = |session: &workflow_tests::session::Session| {
        session
            .workflow_reconciled()
            .is_some_and(|c| c.reason == "RefNotFound" && c.message == "no such branch")
    };
    stage.all(names, right).await?;
    assert!(replica.written() <= 2 * PODS, "{} writes", replica.written());
    assert_eq!(replica.conflicts(), 0, "nobody else wrote after phase Creating");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_said_with_its_record_and_one_event() -> anyhow::Result<()> {
    let stage = Stage::set("delivered").await?;
    let replica = stage.replica(true).await?;
    stage.driver.begin(session("s")).await?;
    let fetching = stage.reason("s", "Fetching").await?;
    assert_eq!(fetching.status, "Unknown");
    stage.driver.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    let condition = stage.reason("s", "Reconciled").await?;
    assert_eq!(condition.message, format!("delivered {COMMIT} (main) to /workspace/workflows/r"));
    let session = stage.driver.sessions().get("s").await?;
    let recorded = session.reconciled_workflow().unwrap_or_default();
    assert_eq!(
        (recorded.git_url.as_str(), recorded.branch.as_str(), recorded.path.as_str()),
        (URL, "main", "a")
    );
    assert_eq!((recorded.status.as_str(), recorded.applied_at.is_empty()), ("Active", false));
    replica.kill().await;

    // What was told stays told after a restart, even if the condition had to be written again.
    let theirs =
        json!({"conditions": [{"type": "WorkflowReconciled", "status": "False", "reason": "UpdateFailed"}]});
    stage.driver.set_status("s", theirs).await?;
    let replica = stage.replica(true).await?;
    stage.reason("s", "Reconciled").await?;
    stage.catch_up("marker").await?;
    assert_eq!(replica.written_by_now(2).await, 2, "the correction and the marker");
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(stage.client.clone(), &session.namespace().unwrap_or_default());
    let told: Vec<_> = events.list(&kube::api::ListParams::default()).await?.items;
    let told: Vec<_> = told.iter().map(|event| event.reason.clone().unwrap_or_default()).collect();
    assert_eq!(told, ["WorkflowDelivered"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_said_once_though_the_kubelet_alternates() -> anyhow::Result<()> {
    let stage = Stage::set("no-image").await?;
    let replica = stage.replica(true).await?;
    stage.driver.begin(session("s")).await?;
    stage.reason("s", "Fetching").await?;
    for attempt in 0..5 {
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            let message = format!("{reason} {attempt}");
            let waiting = json!({"waiting": {"reason": reason, "message": message}});
            stage.driver.report("s", "Pending", waiting).await?;
            stage.reason("s", "ImagePullFailed").await?;
        }
    }
    stage.catch_up("marker").await?;
    assert_eq!(replica.written_by_now(3).await, 3, "Fetching, ImagePullFailed and the marker");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_life_that_nobody_saw_the_operators_note_is_taken_or_it_is_unknown() -> anyhow::Result<()> {
    let stage = Stage::set("unseen").await?;
    for (name, phase) in [("noted", "Failed"), ("stopped", "Stopped")] {
        stage.driver.begin(session(name)).await?;
        stage.driver.delete_pod(name).await?;
        let note = message(Exit::PathNotFound, "no directory `a`");
        let note = format!("Init container init-workflow failed (exit 23): {note} - Error");
        let ready = json!([{"type": "Ready", "status": "False", "reason": "PodFailed", "message": note}]);
        stage.driver.set_status(name, json!({"phase": phase, "conditions": ready})).await?;
    }
    let _replica = stage.replica(true).await?;
    let noted = stage.reason("noted", "PathNotFound").await?;
    assert_eq!((noted.message.as_str(), noted.observed_generation), ("no directory `a`", Some(1)));
    assert_eq!(stage.reason("stopped", "OutcomeUnknown").await?.status, "Unknown");
    let session = stage.driver.sessions().get("noted").await?;
    assert!(session.condition("Ready").is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_that_is_not_ours_to_write() -> anyhow::Result<()> {
    let stage = Stage::set("untouched").await?;
    let _replica = stage.replica(true).await?;
    let driver = &stage.driver;
    let early = driver.create(session("early")).await?;
    driver.create_pod(&early).await?;
    driver.end("early", 22, "Error", "x").await?;

    driver.begin(session("old")).await?;
    let before = Timestamp::now() - 1.hour();
    driver.begin(SessionBuilder::new("bare").build()).await?;
    let out = SessionBuilder::new("out").workflow(URL, "main").without_injection().build();
    driver.begin(out).await?;
    driver.end("out", 22, "Error", "x").await?;
    // Ours already; from here on it belongs to a run of before the registration.
    stage.reason("old", "Fetching").await?;
    driver.set_status("old", json!({"startTime": before.to_string(), "conditions": []})).await?;
    driver.end("old", 22, "Error", "x").await?;

    stage.catch_up("marker").await?;
    for name in ["early", "bare", "out", "old"] {
        let session = driver.sessions().get(name).await?;
        assert_eq!(session.workflow_reconciled(), None, "{name}");
    }
    let early = driver.sessions().get("early").await?;
    assert_eq!(early.start_time(), None, "the operator is to see a session that nobody has touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_workflow_requires_a_restart_and_changed_back_it_does_not() -> anyhow::Result<()> {
    let stage = Stage::set("changed").await?;
    let _replica = stage.replica(true).await?;
    stage.driver.begin(session("s")).await?;
    stage.driver.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    stage.reason("s", "Reconciled").await?;
    for (path, reason) in [("b", "RestartRequired"), ("a", "Reconciled")] {
        let patch = Patch::Merge(json!({"spec": {"activeWorkflow": {"path": path}}}));
        stage.driver.sessions().patch("s", &PatchParams::default(), &patch).await?;
        assert_eq!(stage.reason("s", reason).await?.observed_generation, Some(1));
    }
    let patch = Patch::Merge(json!({"spec": {"activeWorkflow": null}}));
    stage.driver.sessions().patch("s", &PatchParams::default(), &patch).await?;
    assert_eq!(stage.reason("s", "NotConfigured").await?.status, "True");
    Ok(())
}
