//! The spec changes after the pod was stamped.

use super::*;

fn changed() -> AgenticSession {
    session("Running").wanting(json!({"gitUrl": "https://h/o/new.git"})).generation(3)
}

fn ours() -> Condition {
    condition("True", "Reconciled", DELIVERED)
}

fn posted(generation: i64) -> Condition {
    Condition { observed_generation: Some(generation), ..condition("True", "Reconciled", "Workflow updated") }
}

#[test]
fn a_change_after_delivery_requires_a_restart_and_names_both() {
    let session = changed().saying(ours()).recorded("Active", ENDED);
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
    assert_eq!(decided(&session.after(&change), Some(&pod(delivered()))), None, "said once");
}

#[test]
fn changed_back_it_is_delivered_again() {
    let session = changed().saying(ours());
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    let back = session.after(&change).wanting(json!({"gitUrl": URL, "path": "a"})).generation(4);
    let (status, reason, message) = said(&back, Some(&pod(delivered()))).unwrap();
    assert_eq!((status.as_str(), reason.as_str(), message.as_str()), ("True", "Reconciled", DELIVERED));
}

#[test]
fn changed_back_it_is_not_once_the_platform_had_the_runner_replace_it() {
    let session = changed().saying(posted(3));
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    assert!(change.condition.message.as_ref().unwrap().contains(PLATFORM_UPDATED));
    let session = session.after(&change);
    assert_eq!(decided(&session, Some(&pod(delivered()))), None);
    let back = session.wanting(json!({"gitUrl": URL, "path": "a"})).generation(4);
    for back in [back.clone(), back.saying(posted(4))] {
        let (_, reason, message) = said(&back, Some(&pod(delivered()))).unwrap();
        assert_eq!(reason, "RestartRequired");
        assert!(message.contains("was delivered and then changed"), "{message}");
    }
    let next = PodFacts { uid: "next".into(), created: at(NOW + 1), ..pod(delivered()) };
    let back = session_after_restart(&change);
    assert_eq!(reason_of(&back, Some(&next)).unwrap(), "True/Reconciled", "a new pod starts over");
}

fn session_after_restart(change: &Change) -> AgenticSession {
    session("Running").after(change)
}

#[test]
fn another_change_of_the_spec_is_no_change_of_the_workflow() {
    let session = session("Running").generation(7).saying(ours()).recorded("Active", ENDED);
    assert_eq!(decided(&session, Some(&pod(delivered()))), None);
}

#[test]
fn a_new_spelling_of_the_same_source_only_moves_the_record() {
    let session = session("Running").saying(ours()).recorded("Active", ENDED);
    let session = session.wanting(json!({"gitUrl": URL, "path": "a/", "branch": "main"}));
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!((change.condition.reason.as_deref(), change.event), (Some("Reconciled"), None));
    let workflow = change.workflow.unwrap();
    assert_eq!((workflow.path.as_deref(), workflow.applied_at), (Some("a/"), Some(at(ENDED))));
}

#[test]
fn while_it_fetches_it_is_fetching_and_the_operator_sees_no_drift() {
    let change = decided(&changed(), Some(&pod(Outcome::Fetching))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("Fetching"));
    assert_eq!(change.workflow.unwrap().git_url, "https://h/o/new.git");
}

#[test]
fn a_failure_is_about_what_was_tried() {
    let change = decided(&changed(), Some(&pod(failed(Exit::RefNotFound)))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RefNotFound"));
    assert_eq!(change.condition.observed_generation, Some(2));
}

#[test]
fn without_a_pod_what_was_delivered_is_still_known() {
    let session = changed().saying(ours()).recorded("Active", ENDED);
    let change = decided(&session, None).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(decided(&session.after(&change), None), None, "it stands");
}

#[test]
fn a_workflow_set_again_without_a_pod_requires_a_restart() {
    let session = session("Stopped").saying(condition("True", "NotConfigured", "x"));
    let change = decided(&session, None).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(decided(&session.after(&change), None), None, "it stands");
}
