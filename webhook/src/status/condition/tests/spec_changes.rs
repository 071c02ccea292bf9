//! The spec changes after the pod was stamped.

use super::*;

fn changed() -> AgenticSession {
    session("Running").wanting(json!({"gitUrl": "https://h/o/new.git"})).generation(3)
}

fn ours() -> Condition {
    condition("True", "Reconciled", DELIVERED)
}

#[test]
fn a_change_after_delivery_requires_a_restart_and_names_both() {
    let session = changed().with_condition(ours()).recorded_by_us("Active");
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!(
        change.condition.message.as_deref(),
        Some(
            "https://h/o/repo.git (main, a) was delivered, but https://h/o/new.git (main) is wanted now; restart the session to have it delivered"
        )
    );
    assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(change.condition.observed_generation, Some(2), "what was delivered");
    assert_eq!(change.event, Some("WorkflowRestartRequired"));
    let workflow = change.workflow.clone().unwrap();
    assert_eq!((workflow.git_url.as_str(), workflow.path), ("https://h/o/new.git", None), "no drift to see");
    assert_eq!(decided(&session.after(&change), Some(&pod(delivered()))), None, "written once");
}

/// The session after the change of its spec, the operator's POST if there was one, and ours.
fn restart_required(posts: bool) -> AgenticSession {
    let session = changed().with_condition(ours()).recorded_by_us("Active");
    let session = if posts { session.posted_at(NOW) } else { session };
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    let message = change.condition.message.as_deref().unwrap();
    assert_eq!(message.contains("the platform has updated the running session itself"), posts, "{message}");
    let session = session.after(&change);
    assert_eq!(decided(&session, Some(&pod(delivered()))), None, "written once");
    session
}

fn changed_back(session: &AgenticSession) -> AgenticSession {
    session.clone().wanting(json!({"gitUrl": URL, "path": "a"})).generation(4)
}

#[test]
fn changed_back_it_still_requires_a_restart() {
    let failed = || condition("False", "UpdateFailed", "401");
    for posts in [false, true] {
        let session = restart_required(posts);
        let switched = condition("True", "Reconciled", "Switched to workflow");
        for (name, back) in [
            ("nothing was posted", changed_back(&session)),
            ("posted again", changed_back(&session).posted_at(NOW + 1)),
            ("posted in the second of the pod's end", changed_back(&session).posted_at(ENDED)),
            ("the condition alone", changed_back(&session).with_condition(switched)),
            ("the POST failed", changed_back(&session).with_condition(failed())),
        ] {
            let mut back = back;
            for round in 1..=3 {
                let change = decided(&back, Some(&pod(delivered()))).unwrap();
                assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"), "{name}");
                assert_eq!(change.condition.observed_generation, Some(2), "{name}");
                back = back.after(&change);
                assert_eq!(decided(&back, Some(&pod(delivered()))), None, "{name}: written once");
                // The operator writes over it, or the session gets another display name as well.
                back = back.generation(4 + round).posted_at(NOW + 1 + round);
            }
            let removed = Condition { reason: Some("NotConfigured".into()), ..ours() };
            let removed = back.with_condition(removed).generation(9);
            assert_eq!(
                reason_of(&removed, Some(&pod(delivered()))).unwrap(),
                "False/RestartRequired",
                "{name}"
            );
        }
    }
}

#[test]
fn a_change_and_back_that_was_missed_requires_a_restart_if_the_operator_posted() {
    let missed = session("Running").generation(4).with_condition(ours()).recorded_by_us("Active");
    assert_eq!(decided(&missed, Some(&pod(delivered()))), None, "no POST, as after a new display name");
    for applied_at in [ENDED, ENDED + 1] {
        let posted = missed.clone().posted_at(applied_at);
        let (_, reason, message) = written(&posted, Some(&pod(delivered()))).unwrap();
        assert_eq!(reason, "RestartRequired");
        assert!(message.contains("the platform has updated the running session itself"), "{message}");
    }
}

#[test]
fn a_failed_post_is_no_update() {
    let session =
        changed().with_condition(condition("False", "UpdateFailed", "401")).recorded_by_us("Active");
    let (_, reason, message) = written(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!(reason, "RestartRequired");
    assert!(!message.contains("has updated"), "{message}");
}

#[test]
fn a_restart_required_by_another_version_keeps_its_message() {
    let mut session = restart_required(true);
    for condition in &mut session.status.as_mut().unwrap().conditions {
        condition.message = Some("please restart".into());
    }
    assert_eq!(decided(&session, Some(&pod(delivered()))), None);
    let other = session.wanting(json!({"gitUrl": "https://h/o/third.git"})).generation(4);
    let message = written(&other, Some(&pod(delivered()))).unwrap().2;
    assert!(
        message.contains("https://h/o/third.git (main) is wanted now (the platform has updated"),
        "{message}"
    );
}

#[test]
fn the_next_pod_starts_over() {
    for posts in [false, true] {
        let mut session = changed_back(&restart_required(posts));
        session.status.as_mut().unwrap().start_time = Some(at(NOW + 5));
        let next = PodFacts {
            uid: "next".into(),
            created: at(NOW + 6),
            ended: Some(at(NOW + 8)),
            stamp: Some(Stamp { generation: 4, ..stamp() }),
            ..pod(delivered())
        };
        let fetching = PodFacts { outcome: Outcome::Fetching, ended: None, ..next.clone() };
        assert_eq!(reason_of(&session, Some(&fetching)).unwrap(), "Unknown/Fetching");
        assert_eq!(reason_of(&session, Some(&next)).unwrap(), "True/Reconciled");
        let renamed = session.generation(5);
        assert_eq!(reason_of(&renamed, Some(&next)).unwrap(), "True/Reconciled", "another display name");
    }
}

#[test]
fn changed_and_back_while_it_fetched_it_is_delivered() {
    let fetching = decided(&changed(), Some(&pod(Outcome::Fetching))).unwrap();
    let back = changed_back(&changed().after(&fetching));
    assert_eq!(reason_of(&back, Some(&pod(delivered()))).unwrap(), "True/Reconciled");
}

#[test]
fn another_change_of_the_spec_is_no_change_of_the_workflow() {
    let session = session("Running").generation(7).with_condition(ours()).recorded_by_us("Active");
    assert_eq!(decided(&session, Some(&pod(delivered()))), None);
}

#[test]
fn a_new_spelling_of_the_same_source_only_moves_the_record() {
    let session = session("Running").with_condition(ours()).recorded_by_us("Active");
    let session = session.wanting(json!({"gitUrl": URL, "path": "a/", "branch": "main"}));
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!((change.condition.reason.as_deref(), change.event), (Some("Reconciled"), None));
    let workflow = change.workflow.unwrap();
    assert_eq!((workflow.path.as_deref(), workflow.applied_at), (Some("a/"), Some(own_time())));
}

#[test]
fn while_it_fetches_it_is_fetching_and_the_operator_sees_no_drift() {
    let change = decided(&changed(), Some(&pod(Outcome::Fetching))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("Fetching"));
    assert_eq!(change.workflow.unwrap().git_url, "https://h/o/new.git");
}

#[test]
fn a_failure_refers_to_the_stamped_source() {
    let change = decided(&changed(), Some(&pod(failed(Exit::RefNotFound)))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RefNotFound"));
    assert_eq!(change.condition.observed_generation, Some(2));
}

#[test]
fn without_a_pod_the_record_shows_what_was_delivered() {
    let mut session = changed().with_condition(ours()).recorded_by_us("Active");
    session.status.as_mut().unwrap().phase = Some("Stopped".into());
    let change = decided(&session, None).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(decided(&session.after(&change), None), None, "it stands");
}

#[test]
fn a_workflow_set_again_without_a_pod_requires_a_restart() {
    let session = session("Stopped").with_condition(condition("True", "NotConfigured", "x"));
    let change = decided(&session, None).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(decided(&session.after(&change), None), None, "it stands");
}
