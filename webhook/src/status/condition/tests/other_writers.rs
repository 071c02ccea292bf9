//! Somebody else writes the condition or the record.

use super::*;

#[test]
fn what_is_untrue_over_ours_is_put_right() {
    let early = condition("False", "UpdateFailed", "no such host");
    let posted = condition("True", "Reconciled", "Workflow updated");
    for theirs in [&early, &posted] {
        for outcome in [Outcome::Fetching, delivered(), failed(Exit::RefNotFound)] {
            let session = session("Running").saying(theirs.clone()).recorded("Active", 5);
            let pod = pod(outcome);
            let change = decided(&session, Some(&pod)).unwrap();
            assert_eq!(decided(&session.after(&change), Some(&pod)), None);
        }
    }
}

#[test]
fn the_time_of_the_transition_stands_while_the_status_does() {
    for (theirs, expected) in [("True", 2), ("False", NOW), ("Unknown", NOW)] {
        let session = session("Running").saying(condition(theirs, "x", "y"));
        let change = decided(&session, Some(&pod(delivered()))).unwrap();
        assert_eq!(change.condition.last_transition_time, Some(at(expected)), "{theirs}");
    }
}

#[test]
fn a_record_that_differs_is_put_right_without_an_event() {
    let settled =
        session("Running").saying(condition("True", "Reconciled", DELIVERED)).recorded("Active", ENDED);
    assert_eq!(decided(&settled, Some(&pod(delivered()))), None);
    let mut drifted = settled.clone();
    let recorded = drifted.status.as_mut().unwrap().reconciled_workflow.as_mut().unwrap();
    recorded.status = Some("Failed".into());
    let change = decided(&drifted, Some(&pod(delivered()))).unwrap();
    assert_eq!((change.event, change.workflow.unwrap().applied_at), (None, Some(at(ENDED))));
    let mut later = settled;
    let recorded = later.status.as_mut().unwrap().reconciled_workflow.as_mut().unwrap();
    recorded.applied_at = Some(at(NOW));
    assert_eq!(decided(&later, Some(&pod(delivered()))), None, "their time of this run is as good");
}

#[test]
fn ours_is_told_from_theirs() {
    let cases = [
        ("Reconciled", DELIVERED, true),
        ("Reconciled", "Workflow updated", false),
        ("Reconciled", "delivered to the runner", false),
        ("UpdateFailed", DELIVERED, false),
        ("", "", false),
        ("RefNotFound", "x", true),
        ("OutcomeUnknown", "x", true),
    ];
    for (reason, message, ours) in cases {
        assert_eq!(is_ours(&condition("True", reason, message)), ours, "{reason} {message}");
    }
}
