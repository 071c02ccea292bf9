//! The contract's table, row by row: session and pod in, what is to be written out.

mod live;
mod other_writers;
mod spec_changes;
mod without_a_pod;

use serde_json::{Value, json};
use workflow_contract::names::{INJECT_ANNOTATION, OPT_OUT};
use workflow_contract::{Source, Stamp};

use super::current::OWN_MARK;
use super::*;
use crate::status::outcome::{ContainerFailure, RunnerState};

const URL: &str = "https://u:secret@h/o/repo.git";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const DELIVERED: &str =
    "delivered 0123456789abcdef0123456789abcdef01234567 (main) to /workspace/workflows/repo";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

const REGISTERED: i64 = -1000;
const START: i64 = 0;
const CREATED: i64 = 1;
const ENDED: i64 = 9;
const NOW: i64 = 10;

/// `appliedAt` of this controller for a pod that ended at [`ENDED`].
fn own_time() -> Timestamp {
    at(ENDED) + OWN_MARK
}

/// A session with a workflow, in this phase.
fn session(phase: &str) -> AgenticSession {
    serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "session-uid", "generation": 3},
        "spec": {"activeWorkflow": {"gitUrl": URL, "path": "/a/"}},
        "status": {"phase": phase, "startTime": at(START)},
    }))
    .unwrap()
}

trait With: Sized {
    fn wanting(self, workflow: Value) -> Self;
    fn generation(self, generation: i64) -> Self;
    fn with_condition(self, condition: Condition) -> Self;
    fn recorded(self, status: &str, applied_at: i64) -> Self;
    /// The record that this controller writes for the pod.
    fn recorded_by_us(self, status: &str) -> Self;
    /// Changes it as the operator does after a POST that was answered with 200: the generation stays.
    fn posted_at(self, applied_at: i64) -> Self;
    fn after(self, change: &StatusChange) -> Self;
}

impl With for AgenticSession {
    fn wanting(mut self, workflow: Value) -> Self {
        self.spec.active_workflow = serde_json::from_value(workflow).unwrap();
        self
    }

    fn generation(mut self, generation: i64) -> Self {
        self.metadata.generation = Some(generation);
        self
    }

    fn with_condition(mut self, condition: Condition) -> Self {
        let conditions = &mut self.status.as_mut().unwrap().conditions;
        conditions.retain(|one| one.type_ != condition.type_);
        conditions.push(condition);
        self
    }

    fn recorded(mut self, status: &str, applied_at: i64) -> Self {
        self.status.as_mut().unwrap().reconciled_workflow = Some(ReconciledWorkflow {
            git_url: URL.into(),
            branch: "main".into(),
            path: Some("/a/".into()),
            status: Some(status.into()),
            applied_at: Some(at(applied_at)),
        });
        self
    }

    fn recorded_by_us(self, status: &str) -> Self {
        let mut session = self.recorded(status, ENDED);
        session.status.as_mut().unwrap().reconciled_workflow.as_mut().unwrap().applied_at = Some(own_time());
        session
    }

    fn posted_at(mut self, applied_at: i64) -> Self {
        let workflow = self.workflow().unwrap().clone();
        let status = self.status.as_mut().unwrap();
        status.reconciled_workflow = Some(ReconciledWorkflow {
            git_url: workflow.git_url,
            branch: workflow.branch.unwrap_or_else(|| "main".into()),
            path: workflow.path,
            status: Some("Active".into()),
            applied_at: Some(at(applied_at)),
        });
        let old = status.conditions.iter().find(|one| one.type_ == WORKFLOW_RECONCILED).cloned();
        let observed_generation = old.and_then(|old| old.observed_generation);
        let switched = condition("True", "Reconciled", "Switched to workflow");
        self.with_condition(Condition { observed_generation, ..switched })
    }

    fn after(mut self, change: &StatusChange) -> Self {
        if let Some(workflow) = &change.workflow {
            self.status.as_mut().unwrap().reconciled_workflow = Some(workflow.clone());
        }
        self.with_condition(change.condition.clone())
    }
}

fn stamp() -> Stamp {
    Stamp {
        source: Source::new(URL, "", "a"),
        generation: 2,
        session_uid: "session-uid".into(),
        image: "i".into(),
    }
}

fn pod(outcome: Outcome) -> PodFacts {
    let ended = matches!(outcome, Outcome::Delivered { .. } | Outcome::Undelivered(_)).then(|| at(ENDED));
    PodFacts {
        namespace: "ns".into(),
        session: "s".into(),
        session_uid: "session-uid".into(),
        uid: "pod-uid".into(),
        created: at(CREATED),
        stamp: Some(stamp()),
        workflow_variables: 1,
        outcome,
        ended,
        live: Vec::new(),
        runner: RunnerState::Running,
        is_ending: false,
        took: None,
        presence: Presence::Exists,
    }
}

fn gone(outcome: Outcome, presence: Presence) -> PodFacts {
    PodFacts { presence, ..pod(outcome) }
}

fn delivered() -> Outcome {
    Outcome::Delivered { commit: COMMIT.into(), signer: None }
}

fn failed(exit: Exit) -> Outcome {
    Outcome::Undelivered(ContainerFailure::Exit { exit, message: "line 1".into() })
}

fn condition(status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: WORKFLOW_RECONCILED.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(at(2)),
        observed_generation: Some(2),
    }
}

fn ready(message: &str) -> Condition {
    Condition { type_: "Ready".into(), ..condition("False", "PodFailed", message) }
}

fn decided(session: &AgenticSession, pod: Option<&PodFacts>) -> Option<StatusChange> {
    decided_at(session, pod, Some(at(REGISTERED)))
}

fn decided_at(
    session: &AgenticSession,
    pod: Option<&PodFacts>,
    registered: Option<Timestamp>,
) -> Option<StatusChange> {
    match decide(session, pod, registered, &LiveDelivery::Off, at(NOW))? {
        Action::Write(change) => Some(*change),
        Action::Deliver => panic!("nothing is delivered without the component"),
    }
}

/// Status, reason and message of what is to be written.
fn written(session: &AgenticSession, pod: Option<&PodFacts>) -> Option<(String, String, String)> {
    let condition = decided(session, pod)?.condition;
    Some((condition.status, condition.reason?, condition.message?))
}

fn reason_of(session: &AgenticSession, pod: Option<&PodFacts>) -> Option<String> {
    written(session, pod).map(|(status, reason, _)| format!("{status}/{reason}"))
}

const WANTED: &str = "https://h/o/repo.git (main, a)";

#[test]
fn each_outcome_has_its_row() {
    let interrupted =
        "the session's pod ended before the workflow was on disk: it was deleted; restart the session";
    let undelivered = |failure| pod(Outcome::Undelivered(failure));
    let rows = [
        ("fetching", pod(Outcome::Fetching), "Unknown/Fetching", format!("init-workflow is to deliver {WANTED}")),
        ("delivered", pod(delivered()), "True/Reconciled", DELIVERED.to_owned()),
        ("delivered, then deleted", gone(delivered(), Presence::Deleted), "True/Reconciled", DELIVERED.to_owned()),
        ("delivered, then missed", gone(delivered(), Presence::Vanished), "True/Reconciled", DELIVERED.to_owned()),
        ("exit 22", pod(failed(Exit::RefNotFound)), "False/RefNotFound", "line 1".to_owned()),
        (
            "exit 22, then deleted",
            gone(failed(Exit::RefNotFound), Presence::Deleted),
            "False/RefNotFound",
            "line 1".to_owned(),
        ),
        (
            "exit 34 without a message",
            undelivered(ContainerFailure::Exit { exit: Exit::Timeout, message: String::new() }),
            "False/Timeout",
            "init-workflow ended with exit code 34 and left no message; see its log".to_owned(),
        ),
        (
            "exit 1",
            undelivered(ContainerFailure::OtherExit { code: 1, message: "panicked".into() }),
            "False/FetchFailed",
            "init-workflow ended with exit code 1: panicked".to_owned(),
        ),
        (
            "exit 0 without proof",
            undelivered(ContainerFailure::Unconfirmed { why: "its message names no commit" }),
            "False/FetchFailed",
            "init-workflow ended with exit code 0, but its message names no commit; the delivery could not be verified"
                .to_owned(),
        ),
        (
            "out of memory",
            undelivered(ContainerFailure::OutOfMemory),
            "False/OutOfMemory",
            "init-workflow ran out of memory; raise `resources` in the injector's configuration, or fetch a smaller repository or directory".to_owned(),
        ),
        (
            "no image",
            undelivered(ContainerFailure::NoImage { image: "i".into() }),
            "False/ImagePullFailed",
            "the image `i` of init-workflow can't be pulled; check its name in the injector's configuration and that the nodes may pull it".to_owned(),
        ),
        (
            "no container",
            undelivered(ContainerFailure::NoContainer { why: "StartError: x".into() }),
            "False/ContainerFailed",
            "init-workflow could not be started: StartError: x; see the Events of the session's pod".to_owned(),
        ),
        (
            "interrupted",
            undelivered(ContainerFailure::Interrupted { why: "it was deleted".into() }),
            "False/Interrupted",
            interrupted.to_owned(),
        ),
        ("deleted before it ended", gone(Outcome::Fetching, Presence::Deleted), "False/Interrupted", interrupted.to_owned()),
    ];
    for (name, pod, expected, message) in rows {
        for phase in ["Creating", "Running", "Stopping", "Stopped", "Completed", "Failed"] {
            let change = decided(&session(phase), Some(&pod)).unwrap();
            let condition = &change.condition;
            let shown = format!("{}/{}", condition.status, condition.reason.as_ref().unwrap());
            assert_eq!((shown.as_str(), condition.message.as_ref()), (expected, Some(&message)), "{name}");
            assert_eq!(condition.observed_generation, Some(2), "{name}: the stamp's generation");
            assert_eq!(condition.last_transition_time, Some(at(NOW)), "{name}");
            let workflow = change.workflow.clone().unwrap();
            let progress = match condition.status.as_str() {
                "True" => "Active",
                "False" => "Failed",
                _ => "Cloning",
            };
            assert_eq!(workflow.status.as_deref(), Some(progress), "{name}");
            assert_eq!((workflow.git_url.as_str(), workflow.branch.as_str()), (URL, "main"), "{name}");
            assert_eq!(workflow.path.as_deref(), Some("/a/"), "{name}: byte for byte");
            assert_eq!(workflow.applied_at.is_some(), progress != "Cloning", "{name}");
            assert_eq!(decided(&session(phase).after(&change), Some(&pod)), None, "{name}: written once");
        }
    }
}

#[test]
fn every_exit_code_becomes_its_reason() {
    for exit in Exit::ALL.iter().filter(|exit| **exit != Exit::Reconciled) {
        let expected = format!("False/{}", exit.reason());
        assert_eq!(reason_of(&session("Failed"), Some(&pod(failed(*exit)))), Some(expected));
    }
}

#[test]
fn nothing_is_written() {
    let fetching = pod(Outcome::Fetching);
    let mut opted_out = session("Running");
    opted_out.metadata.annotations = Some([(INJECT_ANNOTATION.to_owned(), OPT_OUT.to_owned())].into());
    let mut unstarted = session("Creating");
    unstarted.status.as_mut().unwrap().start_time = None;
    let mut bare = session("Creating");
    bare.status = None;
    let ours = condition("False", "RefNotFound", "line 1");
    for (name, session) in [
        ("before the operator's first write", bare),
        ("before startTime", unstarted),
        ("in phase Pending", session("Pending")),
        ("in no phase", session("")),
        ("where the session is left to the platform", opted_out.clone()),
        ("where it is, over a condition of ours", opted_out.with_condition(ours.clone())),
        ("without a workflow", session("Running").wanting(Value::Null)),
        ("with an empty URL", session("Running").wanting(json!({"gitUrl": ""}))),
        (
            "without a workflow, over the operator's condition",
            session("Running").wanting(Value::Null).with_condition(condition("False", "UpdateFailed", "x")),
        ),
    ] {
        for pod in [None, Some(&fetching)] {
            assert_eq!(decided(&session, pod), None, "{name}");
        }
    }
}

#[test]
fn runs_from_before_the_registration_are_left_alone() {
    let session = session("Running");
    let bare = PodFacts { stamp: None, ..pod(Outcome::NotInjected) };
    for pod in [None, Some(&bare)] {
        for registered in [None, Some(at(START)), Some(at(START + 1))] {
            assert_eq!(decided_at(&session, pod, registered), None, "{registered:?}");
        }
    }
    let old = PodFacts { created: at(REGISTERED - 1), ..bare.clone() };
    assert_eq!(decided(&session, Some(&old)), None, "the pod was there before");
    assert!(decided_at(&session, Some(&bare), Some(at(START - 1))).is_some());
}

#[test]
fn a_stamped_pod_is_never_from_before_the_registration() {
    for pod in [Outcome::Fetching, delivered(), failed(Exit::Timeout)].map(pod) {
        for registered in [None, Some(at(START + 1)), Some(at(NOW))] {
            let change = decided_at(&session("Running"), Some(&pod), registered);
            assert!(change.is_some(), "{registered:?}, {pod:?}");
        }
    }
}

#[test]
fn a_deleted_pod_of_an_earlier_run_does_not_date_this_run() {
    let old = PodFacts { created: at(REGISTERED - 60), ..gone(delivered(), Presence::Deleted) };
    assert_eq!(reason_of(&session("Stopped"), Some(&old)).unwrap(), "Unknown/OutcomeUnknown");
}

#[test]
fn a_cached_pod_is_up_to_date_if_it_exists_or_is_surely_of_this_run() {
    let created = |presence, created| PodFacts { created: at(created), ..gone(delivered(), presence) };
    for (pod, expected) in [
        (created(Presence::Exists, START - 60), true),
        (created(Presence::Deleted, START), true),
        (created(Presence::Deleted, START - 1), false),
        (created(Presence::Vanished, CREATED), false),
    ] {
        assert_eq!(is_up_to_date(&pod, &session("Creating")), expected, "{pod:?}");
    }
}

#[test]
fn an_event_of_this_run_is_published_again_for_a_minute_and_no_longer() {
    let with = |status: &str, reason: &str, applied| {
        let mut session =
            session("Failed").with_condition(condition(status, reason, "any")).recorded_by_us("Failed");
        let recorded = session.status.as_mut().unwrap().reconciled_workflow.as_mut().unwrap();
        recorded.applied_at = Some(at(applied) + OWN_MARK);
        session
    };
    let event = |session: &AgenticSession, now| recent_event(session, at(now));
    assert_eq!(event(&with("True", "Reconciled", ENDED), NOW), Some("WorkflowDelivered"));
    assert_eq!(event(&with("False", "RefNotFound", ENDED), ENDED + 59), Some("WorkflowFailed"));
    assert_eq!(event(&with("False", "RefNotFound", ENDED), ENDED + 61), None, "published long ago");
    assert_eq!(event(&with("False", "NotInjected", START - 100), NOW), Some("WorkflowNotInjected"));
    for (status, reason) in [("Unknown", "Fetching"), ("True", "NotConfigured"), ("False", "UpdateFailed")] {
        assert_eq!(event(&with(status, reason, ENDED), NOW), None, "{reason}");
    }
    let mut next = with("False", "RefNotFound", ENDED);
    next.status.as_mut().unwrap().start_time = Some(at(ENDED + 1));
    assert_eq!(event(&next, NOW), None, "an earlier run's");
}

#[test]
fn a_pod_that_should_have_been_injected_is_not_injected() {
    let not_injected = PodFacts { stamp: None, ..pod(Outcome::NotInjected) };
    let change = decided(&session("Running").recorded("Active", 5), Some(&not_injected)).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("NotInjected"));
    assert_eq!((change.workflow, change.condition.observed_generation), (None, None));
    assert_eq!(change.event, Some("WorkflowNotInjected"));
    let removed = reason_of(&session("Running"), Some(&pod(Outcome::NotInjected)));
    assert_eq!(removed.unwrap(), "False/NotInjected", "a stamp without the container");
}

#[test]
fn a_pod_created_without_a_workflow_requires_a_restart() {
    let bare = PodFacts { stamp: None, workflow_variables: 0, ..pod(Outcome::NotInjected) };
    let change = decided(&session("Running"), Some(&bare)).unwrap();
    let condition = &change.condition;
    assert_eq!(condition.reason.as_deref(), Some("RestartRequired"));
    assert_eq!(
        condition.message.as_deref(),
        Some(
            "no workflow was delivered, but https://h/o/repo.git (main, a) is wanted now; restart the session to have it delivered"
        )
    );
    assert_eq!((condition.observed_generation, change.event), (None, Some("WorkflowRestartRequired")));
    let recorded = change.workflow.clone().unwrap();
    assert_eq!((recorded.git_url.as_str(), recorded.branch.as_str()), (URL, "main"), "no drift");
    assert_eq!((recorded.path.as_deref(), recorded.status.as_deref()), (Some("/a/"), Some("Failed")));
    let after = session("Running").after(&change);
    assert_eq!(decided(&after, Some(&bare)), None, "written once");
    for posted in [session("Running").posted_at(5), after.posted_at(6)] {
        let change = decided(&posted, Some(&bare)).unwrap();
        let message = change.condition.message.as_deref().unwrap();
        assert!(message.contains("the platform has updated the running session itself"), "{message}");
        assert_eq!(decided(&posted.after(&change), Some(&bare)), None, "written once");
    }
}

#[test]
fn an_authors_own_variable_does_not_make_a_pod_not_injected() {
    let mut session = session("Running");
    session.spec.environment_variables =
        serde_json::from_value(json!({"ACTIVE_WORKFLOW_GIT_URL": "https://h/own"})).unwrap();
    for (variables, expected) in [(1, "False/RestartRequired"), (2, "False/NotInjected")] {
        let bare = PodFacts { stamp: None, workflow_variables: variables, ..pod(Outcome::NotInjected) };
        assert_eq!(reason_of(&session, Some(&bare)).unwrap(), expected);
    }
}

#[test]
fn a_removed_workflow_is_not_configured() {
    let over = |condition| session("Running").wanting(Value::Null).with_condition(condition);
    let session = over(condition("False", "RefNotFound", "line 1"));
    let change = decided(&session, Some(&pod(failed(Exit::RefNotFound)))).unwrap();
    assert_eq!((change.condition.status.as_str(), change.event), ("True", None));
    assert_eq!(change.condition.reason.as_deref(), Some("NotConfigured"));
    assert_eq!((change.workflow.clone(), change.condition.observed_generation), (None, Some(3)));
    assert_eq!(decided(&session.after(&change).generation(9), None), None, "written once");
    let over = over(condition("True", "Reconciled", DELIVERED)).recorded_by_us("Active");
    assert_eq!(reason_of(&over, None).unwrap(), "True/NotConfigured");
}

#[test]
fn a_new_pod_starts_over() {
    let ours = condition("True", "Reconciled", DELIVERED);
    let session = session("Creating").with_condition(ours).recorded("Active", START - 100);
    let change = decided(&session, Some(&pod(Outcome::Fetching))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("Fetching"));
    assert_eq!(change.workflow.unwrap().applied_at, None);
    let again = decided(&session, Some(&pod(delivered()))).unwrap();
    assert_eq!(again.workflow.unwrap().applied_at, Some(own_time()), "this run's outcome");
    assert_eq!(again.event, Some("WorkflowDelivered"));
}

#[test]
fn an_outcome_is_never_older_than_its_run() {
    let early = PodFacts { ended: Some(at(START - 3)), ..pod(failed(Exit::Timeout)) };
    let change = decided(&session("Failed"), Some(&early)).unwrap();
    assert_eq!(change.workflow.clone().unwrap().applied_at, Some(at(START) + OWN_MARK));
    assert_eq!(decided(&session("Failed").after(&change), None), None, "so it stands without its pod");
}

#[test]
fn a_failure_that_passes_is_replaced() {
    let stuck = pod(Outcome::Undelivered(ContainerFailure::NoImage { image: "i".into() }));
    let change = decided(&session("Creating"), Some(&stuck)).unwrap();
    let session = session("Creating").after(&change);
    let change = decided(&session, Some(&pod(Outcome::Fetching))).unwrap();
    assert_eq!(change.condition.reason.as_deref(), Some("Fetching"));
    assert_eq!(change.workflow.clone().unwrap().applied_at, None);
    assert_eq!(reason_of(&session.after(&change), Some(&pod(delivered()))).unwrap(), "True/Reconciled");
}

#[test]
fn messages_contain_no_userinfo() {
    let other = session("Running").wanting(json!({"gitUrl": "https://u:hidden@h/o/r", "branch": "x"}));
    for session in [session("Running"), other] {
        for pod in [Outcome::Fetching, delivered()].map(pod) {
            let (_, _, message) = written(&session, Some(&pod)).unwrap();
            assert!(!message.contains("secret") && !message.contains("hidden"), "{message}");
        }
    }
}
