//! The session has no pod, or one that is gone without its end having been observed.

use super::*;

const NOTE: &str = "Init container init-workflow failed (exit 22): no such branch - Error";

#[test]
fn a_condition_of_this_run_stands() {
    for (status, reason, message) in [
        ("True", "Reconciled", DELIVERED),
        ("False", "RefNotFound", "x"),
        ("False", "Interrupted", "x"),
        ("False", "RestartRequired", "x"),
    ] {
        let session =
            session("Failed").with_condition(condition(status, reason, message)).with_condition(ready(NOTE));
        assert_eq!(decided(&session.clone().recorded_by_us("Active"), None), None, "{reason}");
        let stale = session.recorded("Active", START - 1);
        assert_eq!(reason_of(&stale, None).unwrap(), "False/RefNotFound", "{reason} of an earlier run");
    }
    let not_injected = session("Stopped").with_condition(condition("False", "NotInjected", "x"));
    assert_eq!(decided(&not_injected, None), None);
}

#[test]
fn the_ready_message_is_used_if_the_session_failed() {
    let session = |phase| session(phase).with_condition(ready(NOTE));
    let change = decided(&session("Failed"), None).unwrap();
    assert_eq!(change.condition.message.as_deref(), Some("no such branch"));
    assert_eq!(change.condition.reason.as_deref(), Some("RefNotFound"));
    assert_eq!(change.workflow.clone().unwrap().applied_at, Some(at(NOW)));
    assert_eq!(change.event, Some("WorkflowFailed"));
    assert_eq!(decided(&session("Failed").after(&change), None), None, "written once");
    assert_eq!(reason_of(&session("Stopped"), None).unwrap(), "Unknown/OutcomeUnknown");
}

#[test]
fn the_ready_message_has_the_present_generation_only_if_the_source_is_the_same() {
    let noted = |url: &str| {
        let json = format!(r#"{{"v":1,"reason":"RefNotFound","url":"{url}","ref":"main","path":"a"}}"#);
        let note = format!("Init container init-workflow failed (exit 22): no\n{json} - Error");
        let change = decided(&session("Failed").with_condition(ready(&note)), None).unwrap();
        (change.condition.message.unwrap(), change.condition.observed_generation)
    };
    assert_eq!(noted("https://h/o/repo.git"), ("no".to_owned(), Some(3)));
    assert_eq!(noted("https://h/o/other.git"), ("no".to_owned(), None));
}

#[test]
fn a_ready_message_about_a_kill_is_an_interruption() {
    for code in [137, 143] {
        let note = format!("Init container init-workflow failed (exit {code}): 2026-01-01 log - Error");
        let session = session("Failed").with_condition(ready(&note));
        let (status, reason, message) = written(&session, None).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Interrupted"));
        assert!(message.contains(&format!("it was terminated (exit {code})")), "{message}");
        assert!(!message.contains("log"), "{message}");
    }
}

#[test]
fn an_unobserved_end_is_unknown_once_the_run_is_over() {
    let fetching = condition("Unknown", "Fetching", "x");
    let theirs = condition("True", "Reconciled", "Workflow updated");
    for status in ["Cloning", "Active"] {
        for current in [None, Some(&fetching), Some(&theirs)] {
            let mut session = session("Stopped").recorded(status, 5);
            session = current.into_iter().fold(session, |session, one| session.with_condition(one.clone()));
            for pod in [None, Some(&gone(Outcome::Fetching, Presence::Vanished))] {
                let change = decided(&session, pod).unwrap();
                assert_eq!(change.condition.reason.as_deref(), Some("OutcomeUnknown"));
                assert_eq!((&change.workflow, change.event), (&None, None));
                let after = session.clone().after(&change);
                assert_eq!(decided(&after, pod), None, "written once");
                let mut failed = after.with_condition(ready(NOTE));
                failed.status.as_mut().unwrap().phase = Some("Failed".into());
                assert_eq!(reason_of(&failed, pod).unwrap(), "False/RefNotFound");
            }
        }
    }
}

#[test]
fn without_a_pod_nothing_is_written_while_the_run_goes_on() {
    let theirs = condition("False", "UpdateFailed", "no such host");
    for phase in ["Creating", "Running", "Stopping"] {
        assert_eq!(decided(&session(phase), None), None, "{phase}");
        assert_eq!(decided(&session(phase).with_condition(theirs.clone()), None), None, "{phase}");
        assert_eq!(decided(&session(phase).posted_at(5), None), None, "{phase}");
    }
}

#[test]
fn an_announced_fetch_whose_end_was_not_observed_is_unknown_at_once() {
    let fetching =
        |since| Condition { last_transition_time: Some(at(since)), ..condition("Unknown", "Fetching", "x") };
    for phase in ["Creating", "Running"] {
        let session = |since| session(phase).with_condition(fetching(since));
        assert_eq!(reason_of(&session(START), None).unwrap(), "Unknown/OutcomeUnknown", "{phase}");
        assert_eq!(decided(&session(START - 1), None), None, "{phase}: of an earlier run");
    }
}

#[test]
fn a_session_whose_pod_was_denied_has_no_outcome() {
    let created = Condition { type_: "PodCreated".into(), ..condition("False", "CreateFailed", "denied") };
    assert_eq!(decided(&session("Stopped").with_condition(created), None), None);
}

#[test]
fn a_deleted_pod_of_an_earlier_run_is_ignored() {
    let earlier = |by| PodFacts { created: at(START - by), ..gone(failed(Exit::Timeout), Presence::Deleted) };
    assert_eq!(decided(&session("Creating"), Some(&earlier(60))), None);
    assert_eq!(reason_of(&session("Stopped"), Some(&earlier(60))).unwrap(), "Unknown/OutcomeUnknown");
    assert_eq!(reason_of(&session("Failed"), Some(&earlier(3))).unwrap(), "False/Timeout", "clocks differ");
}
