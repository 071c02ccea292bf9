//! The stand-in operator delivers, and fails to, as each revision of the platform's was observed to.
//!
//! As in `operator_lifecycle`, the tests play the kubelet, and sessions opt out of injection.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_tests::desk::Desk;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until_exists};

const URL: &str = "https://git.invalid/acme/flow.git";

#[tokio::test]
async fn post_early_fails_before_the_pod_exists_and_marks_the_generation() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::PostEarly);
        desk.create(SessionBuilder::new("s").workflow(URL, "main")).await?;
        let session = desk.run().await?;
        let condition = session.workflow_reconciled().unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "UpdateFailed"));
        assert!(condition.message.contains("lookup session-s: no such host"), "{}", condition.message);
        assert_eq!(session.observed_generation(), session.metadata.generation);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn post_running_says_nothing_before_running_and_repeats_what_failed() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::PostRunning);
        desk.create(SessionBuilder::new("s").workflow(URL, "main")).await?;
        let creating = desk.in_phase(Phase::Creating).await?;
        assert_eq!(creating.workflow_reconciled(), None);
        desk.run().await?;
        // Nobody listens behind the Service.
        let failed = until_exists(&desk.sessions, "s", "the failure", PATIENCE, |session| {
            session.workflow_reconciled().is_some_and(|condition| condition.reason == "UpdateFailed")
        })
        .await?;

        // Taken away, the condition comes back: the attempt was repeated.
        let mut forgotten = failed.clone();
        let conditions = forgotten.data["status"]["conditions"].as_array_mut().unwrap();
        conditions.retain(|condition| condition["type"] != WORKFLOW_RECONCILED);
        desk.sessions.replace_status("s", &PostParams::default(), &forgotten).await?;
        until_exists(&desk.sessions, "s", "another attempt", PATIENCE, |session| {
            session.workflow_reconciled().is_some_and(|condition| condition.reason == "UpdateFailed")
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn post_running_leaves_a_delivered_workflow_alone() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::PostRunning);
        desk.create(SessionBuilder::new("s").workflow(URL, "main")).await?;
        let creating = desk.in_phase(Phase::Creating).await?;
        let mut delivered = creating.clone();
        delivered.data["status"]["reconciledWorkflow"] =
            json!({ "gitUrl": URL, "branch": "main", "path": "" });
        let theirs = json!({ "type": WORKFLOW_RECONCILED, "status": "False", "reason": "RefNotFound" });
        delivered.data["status"]["conditions"].as_array_mut().unwrap().push(theirs);
        desk.sessions.replace_status("s", &PostParams::default(), &delivered).await?;
        let session = desk.run().await?;
        assert_eq!(session.workflow_reconciled().unwrap().reason, "RefNotFound");

        // A new source is drift; by the time that it has been tried, an attempt at the old one would have been seen.
        let patch = Patch::Merge(json!({ "spec": { "activeWorkflow": { "branch": "dev" } } }));
        desk.sessions.patch("s", &PatchParams::default(), &patch).await?;
        let tried = until_exists(&desk.sessions, "s", "the new source to be tried", PATIENCE, |session| {
            session.workflow_reconciled().is_some_and(|condition| condition.reason == "UpdateFailed")
        })
        .await?;
        assert_eq!(tried.workflow_reconciled().unwrap().observed_generation, Some(2));
        Ok(())
    })
    .await;
}
