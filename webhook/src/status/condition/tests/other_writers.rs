//! Another writer changes the condition or the record.

use super::*;

#[test]
fn an_untrue_condition_is_corrected() {
    let early = condition("False", "UpdateFailed", "no such host");
    let posted = condition("True", "Reconciled", "Workflow updated");
    for theirs in [&early, &posted] {
        for outcome in [Outcome::Fetching, delivered(), failed(Exit::RefNotFound)] {
            let session = session("Running").with_condition(theirs.clone()).recorded("Active", 5);
            let pod = pod(outcome);
            let change = decided(&session, Some(&pod)).unwrap();
            assert_eq!(decided(&session.after(&change), Some(&pod)), None);
        }
    }
}

#[test]
fn the_transition_time_is_kept_while_the_status_is() {
    for (theirs, expected) in [("True", 2), ("False", NOW), ("Unknown", NOW)] {
        let session = session("Running").with_condition(condition(theirs, "x", "y"));
        let change = decided(&session, Some(&pod(delivered()))).unwrap();
        assert_eq!(change.condition.last_transition_time, Some(at(expected)), "{theirs}");
    }
}

#[test]
fn a_differing_record_is_corrected_without_an_event() {
    let settled = session("Running")
        .with_condition(condition("True", "Reconciled", DELIVERED))
        .recorded_by_us("Active");
    assert_eq!(decided(&settled, Some(&pod(delivered()))), None);
    for (status, applied_at) in [("Failed", own_time()), ("Active", at(NOW))] {
        let mut drifted = settled.clone();
        let recorded = drifted.status.as_mut().unwrap().reconciled_workflow.as_mut().unwrap();
        (recorded.status, recorded.applied_at) = (Some(status.into()), Some(applied_at));
        let change = decided(&drifted, Some(&pod(delivered()))).unwrap();
        assert_eq!((change.event, change.workflow.unwrap().applied_at), (None, Some(own_time())));
    }
}

#[test]
fn the_operators_success_for_the_stamped_spec_is_corrected() {
    let session = session("Running").generation(2).posted_at(ENDED + 1);
    let change = decided(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!(change.condition.message.as_deref(), Some(DELIVERED));
    assert_eq!(decided(&session.after(&change), Some(&pod(delivered()))), None, "written once");
}

#[test]
fn the_wording_of_another_version_changes_no_state() {
    let reworded = condition("True", "Reconciled", "workflow is there");
    // A later generation, as after a change of the session's display name.
    let session = session("Running").with_condition(reworded.clone()).recorded_by_us("Active").generation(9);
    assert_eq!(written(&session, Some(&pod(delivered()))).unwrap().2, DELIVERED);
    let mut gone = session;
    gone.status.as_mut().unwrap().phase = Some("Stopped".into());
    assert_eq!(decided(&gone, None), None, "stands without a pod");
    assert!(recent_event(&gone, at(NOW)).is_some());
}

#[test]
fn only_the_reasons_of_the_contract_are_own_reasons() {
    for (reason, own) in [
        ("RefNotFound", true),
        ("OutcomeUnknown", true),
        ("RestartRequired", true),
        ("Reconciled", false),
        ("NotConfigured", false),
        ("UpdateFailed", false),
        ("", false),
    ] {
        assert_eq!(is_own_reason(reason), own, "{reason}");
    }
}
