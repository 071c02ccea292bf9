//! Outcomes of pods, row by row.

use serde_json::{Value, json};
use workflow_contract::Exit;
use workflow_contract::termination::Details;

use super::container::MAX_LOG_MESSAGE;
use super::*;

const IMAGE: &str = "injector/init-fetcher:1";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn stamp() -> Stamp {
    Stamp {
        source: Source::new("https://h/o/r.git", "main", "a"),
        generation: 3,
        session_uid: "session-uid".into(),
        image: IMAGE.into(),
    }
}

/// A session pod as it is right after creation; `change` is merged into it, lists as a whole.
fn pod(change: Value) -> SessionPod {
    let mut pod = json!({
        "metadata": {
            "name": "s-runner", "namespace": "ns", "uid": "pod-uid",
            "creationTimestamp": "2026-01-01T00:00:10Z",
            "annotations": {STAMP_ANNOTATION: stamp().to_annotation().unwrap()},
            "ownerReferences": [{
                "apiVersion": "vteam.ambient-code/v1alpha1", "kind": "AgenticSession", "name": "s",
                "uid": "session-uid", "controller": true,
            }],
        },
        "spec": {"initContainers": [
            {"name": "init-hydrate", "image": "h"}, {"name": INIT_CONTAINER, "image": IMAGE},
        ]},
        "status": {"phase": "Pending"},
    });
    merge(&mut pod, change);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

/// Our init container in this state.
fn state(state: &Value) -> Value {
    json!({"status": {"initContainerStatuses": [{"name": INIT_CONTAINER, "state": state}]}})
}

fn ended(code: i32, reason: &str, message: &str) -> Value {
    state(&json!({"terminated": {
        "exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-01-01T00:00:20Z",
    }}))
}

fn with(mut first: Value, second: Value) -> Value {
    merge(&mut first, second);
    first
}

fn message(change: impl FnOnce(&mut Details)) -> String {
    let mut details = Details {
        url: Some("https://h/o/r.git".into()),
        reference: Some("main".into()),
        path: Some("a".into()),
        commit: Some(COMMIT.into()),
        ..Details::new(Exit::Reconciled)
    };
    change(&mut details);
    Termination { message: "done".into(), details: Some(details) }.render()
}

fn outcome(change: Value) -> Outcome {
    read(&pod(change)).unwrap().outcome
}

fn failure(change: Value) -> ContainerFailure {
    match outcome(change) {
        Outcome::Undelivered(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_only_the_pod_named_after_its_controlling_session() {
    let owner = |change: Value| {
        let mut owner = json!({
            "apiVersion": "vteam.ambient-code/v1alpha1", "kind": "AgenticSession", "name": "s",
            "uid": "session-uid", "controller": true,
        });
        merge(&mut owner, change);
        json!({"metadata": {"ownerReferences": [owner]}})
    };
    for (name, change) in [
        ("no owner", json!({"metadata": {"ownerReferences": null}})),
        ("not the controller", owner(json!({"controller": false}))),
        ("another kind", owner(json!({"kind": "Job"}))),
        ("another group", owner(json!({"apiVersion": "vteam.ambient-code.evil/v1"}))),
        ("another name", json!({"metadata": {"name": "s-runner-2"}})),
        ("another session's name", owner(json!({"name": "t"}))),
    ] {
        assert_eq!(read(&pod(change)), None, "{name}");
    }
    let facts = read(&pod(owner(json!({"apiVersion": "vteam.ambient-code/v2"})))).unwrap();
    assert_eq!((facts.session.as_str(), facts.session_uid.as_str()), ("s", "session-uid"));
}

#[test]
fn without_a_stamp_for_this_session_or_the_container_it_is_not_injected() {
    let annotation = |value: &str| json!({"metadata": {"annotations": {STAMP_ANNOTATION: value}}});
    let other = Stamp { session_uid: "other".into(), ..stamp() }.to_annotation().unwrap();
    for (name, change) in [
        ("no stamp", json!({"metadata": {"annotations": null}})),
        ("no stamp that can be read", annotation("{}")),
        ("a stamp for another session", annotation(&other)),
        ("no container", json!({"spec": {"initContainers": [{"name": "init-hydrate"}]}})),
        ("no init containers", json!({"spec": {"initContainers": []}})),
    ] {
        assert_eq!(outcome(change), Outcome::NotInjected, "{name}");
    }
}

#[test]
fn counts_the_runners_workflow_variable() {
    let variable = json!({"name": "ACTIVE_WORKFLOW_GIT_URL", "value": "u"});
    let container = |name: &str, env: Value| json!({"name": name, "env": env});
    for (expected, containers) in [
        (0, json!([])),
        (0, json!([{"name": "ambient-code-runner"}])),
        (0, json!([container("state-sync", json!([variable]))])),
        (1, json!([container("ambient-code-runner", json!([{"name": "A"}, variable]))])),
        (2, json!([container("ambient-code-runner", json!([variable, {"name": "A"}, variable]))])),
    ] {
        let facts = read(&pod(json!({"spec": {"containers": containers}}))).unwrap();
        assert_eq!(facts.workflow_variables, expected, "{containers}");
    }
}

#[test]
fn waiting_and_running_is_fetching() {
    for (name, change) in [
        ("not scheduled", json!({})),
        ("no status yet", json!({"status": {"initContainerStatuses": []}})),
        ("waiting for its turn", state(&json!({"waiting": {"reason": "PodInitializing"}}))),
        ("waiting without a reason", state(&json!({"waiting": {}}))),
        ("running", state(&json!({"running": {"startedAt": "2026-01-01T00:00:12Z"}}))),
        ("being deleted", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:15Z"}})),
        (
            "running a second time",
            json!({"status": {"initContainerStatuses": [{
                "name": INIT_CONTAINER, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 33, "reason": "Error"}},
            }]}}),
        ),
        (
            "another init container failed, but the pod is not over",
            json!({"status": {"initContainerStatuses": [
                {"name": "init-hydrate", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}},
            ]}}),
        ),
    ] {
        assert_eq!(outcome(change), Outcome::Fetching, "{name}");
    }
}

#[test]
fn exit_0_is_delivered_only_if_message_and_image_are_those_of_the_stamp() {
    let exited = |message: String| ended(0, "Completed", &message);
    assert_eq!(outcome(exited(message(|_| {}))), Outcome::Delivered { commit: COMMIT.into(), signer: None });
    let signed = outcome(exited(message(|details| details.signer = Some("a\nb (K key F)".into()))));
    assert_eq!(signed, Outcome::Delivered { commit: COMMIT.into(), signer: Some(r"a\nb (K key F)".into()) });
    let facts = read(&pod(exited(message(|_| {})))).unwrap();
    assert_eq!(facts.ended, "2026-01-01T00:00:20Z".parse().ok());

    let other_image = json!({"spec": {"initContainers": [{"name": INIT_CONTAINER, "image": "evil:1"}]}});
    for (name, change) in [
        ("no message", exited(String::new())),
        ("a message only", exited("done".into())),
        ("another url", exited(message(|d| d.url = Some("https://h/o/other.git".into())))),
        ("another ref", exited(message(|d| d.reference = Some("dev".into())))),
        ("another path", exited(message(|d| d.path = None))),
        ("no url", exited(message(|d| d.url = None))),
        ("no commit", exited(message(|d| d.commit = None))),
        ("another reason", exited(message(|d| d.reason = Exit::Timeout))),
        ("another image", with(exited(message(|_| {})), other_image)),
    ] {
        assert!(matches!(failure(change), ContainerFailure::Unconfirmed { .. }), "{name}");
    }
}

#[test]
fn reads_every_exit_code_of_the_table_with_its_message() {
    for exit in Exit::ALL.iter().filter(|exit| **exit != Exit::Reconciled) {
        let termination =
            Termination { message: "no such branch".into(), details: Some(Details::new(*exit)) };
        let change = ended(i32::from(exit.code()), "Error", &termination.render());
        assert_eq!(failure(change), ContainerFailure::Exit { exit: *exit, message: "no such branch".into() });
    }
}

#[test]
fn reads_other_exit_codes_with_their_message() {
    for code in [1, 2, 9, 12, 99, 126, 127, 137, 139, 143, 255] {
        let message = "panicked".to_owned();
        assert_eq!(failure(ended(code, "Error", "panicked")), ContainerFailure::OtherExit { code, message });
    }
}

#[test]
fn the_end_of_a_log_is_one_line_and_cut() {
    let ContainerFailure::OtherExit { message, .. } = failure(ended(1, "Error", &"line\n".repeat(800)))
    else {
        panic!()
    };
    assert!(message.len() <= MAX_LOG_MESSAGE && !message.contains('\n'));
}

#[test]
fn distinguishes_out_of_memory_from_other_kills() {
    assert_eq!(failure(ended(137, "OOMKilled", "")), ContainerFailure::OutOfMemory);
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:15Z"}});
    assert_eq!(failure(with(ended(137, "OOMKilled", ""), deleted)), ContainerFailure::OutOfMemory);
}

#[test]
fn an_image_that_cannot_be_pulled_is_one_outcome() {
    for reason in NO_IMAGE {
        let change = state(&json!({"waiting": {"reason": reason, "message": format!("{reason}: 17")}}));
        assert_eq!(failure(change), ContainerFailure::NoImage { image: IMAGE.into() }, "{reason}");
    }
}

#[test]
fn a_container_that_cannot_be_made_or_started_failed() {
    let why = |change| match failure(change) {
        ContainerFailure::NoContainer { why } => why,
        other => panic!("{other:?}"),
    };
    let waiting =
        |reason: &str| state(&json!({"waiting": {"reason": reason, "message": "secret \"x\" not found"}}));
    for (change, expected) in [
        (waiting("CreateContainerConfigError"), "CreateContainerConfigError: secret \"x\" not found"),
        (waiting("CreateContainerError"), "CreateContainerError"),
        (waiting("RunContainerError"), "RunContainerError"),
        (ended(128, "StartError", "exec: no such file"), "StartError: exec: no such file"),
        (ended(128, "Error", ""), "Error"),
        (ended(127, "ContainerCannotRun", "exec\nx"), "ContainerCannotRun: exec\\nx"),
    ] {
        assert_eq!(why(change), expected);
    }
}

#[test]
fn the_end_of_the_pod_interrupts() {
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:15Z"}});
    let over = |reason: &str| json!({"status": {"phase": "Failed", "reason": reason, "message": "m"}});
    let disrupted = |phase: &str, reason: &str| {
        json!({"status": {"phase": phase, "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"},
        ]}})
    };
    let hydrate = json!({"status": {"phase": "Failed", "initContainerStatuses": [
        {"name": "init-hydrate", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}},
        {"name": INIT_CONTAINER, "state": {"waiting": {"reason": "PodInitializing"}}},
    ]}});
    for (name, change, expected) in [
        ("143 on deletion", with(ended(143, "Error", ""), deleted.clone()), "it was deleted"),
        ("137 on deletion", with(ended(137, "Error", ""), deleted), "it was deleted"),
        ("137 on eviction", with(ended(137, "Error", ""), over("Evicted")), "it was ended (Evicted: m)"),
        (
            "143 on preemption",
            with(ended(143, "Error", ""), disrupted("Failed", "PreemptionByScheduler")),
            "it was ended (PreemptionByScheduler: m)",
        ),
        ("evicted before it ran", over("Evicted"), "it was ended (Evicted: m)"),
        ("refused by the node", over("OutOfcpu"), "it was ended (OutOfcpu: m)"),
        ("node shut down", over("Terminated"), "it was ended (Terminated: m)"),
        (
            "node gone, legacy",
            json!({"status": {"phase": "Pending", "reason": "NodeLost"}}),
            "its node is gone",
        ),
        ("node gone, tainted", disrupted("Pending", "DeletionByTaintManager"), "its node is gone"),
        ("node gone, collected", disrupted("Failed", "DeletionByPodGC"), "it was ended (DeletionByPodGC: m)"),
        ("lost by its node", ended(137, "ContainerStatusUnknown", ""), "its node lost track of it"),
        ("another init container failed", hydrate, "its init container init-hydrate failed before (exit 3)"),
        ("failed without a reason", json!({"status": {"phase": "Failed"}}), "it failed"),
    ] {
        assert_eq!(failure(change), ContainerFailure::Interrupted { why: expected.into() }, "{name}");
    }
}

#[test]
fn an_outcome_stands_after_the_end_of_the_pod() {
    let late = json!({
        "metadata": {"deletionTimestamp": "2026-01-01T00:01:00Z"},
        "status": {"phase": "Failed", "reason": "Evicted"},
    });
    let delivered = with(ended(0, "Completed", &message(|_| {})), late.clone());
    assert!(matches!(outcome(delivered), Outcome::Delivered { .. }));
    let failed = with(ended(22, "Error", "x"), late);
    assert!(matches!(failure(failed), ContainerFailure::Exit { exit: Exit::RefNotFound, .. }));
}

#[test]
fn the_last_end_counts_where_the_container_does_not_run_again() {
    let last = |state: Value, phase: &str| {
        json!({"status": {"phase": phase, "initContainerStatuses": [{
            "name": INIT_CONTAINER, "state": state,
            "lastState": {"terminated": {"exitCode": 22, "reason": "Error", "message": "x"}},
        }]}})
    };
    let backs_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let waiting = json!({"waiting": {"reason": "PodInitializing"}});
    for change in [last(backs_off, "Pending"), last(waiting.clone(), "Failed")] {
        assert!(matches!(failure(change), ContainerFailure::Exit { exit: Exit::RefNotFound, .. }));
    }
    assert_eq!(outcome(last(waiting, "Pending")), Outcome::Fetching);
}

#[test]
fn parses_the_ready_message_of_our_container_only() {
    let details = Details {
        url: Some("https://h/o/r.git".into()),
        reference: Some("mian".into()),
        ..Details::new(Exit::RefNotFound)
    };
    let termination =
        Termination { message: "no branch `mian` - did you mean `main`?".into(), details: Some(details) };
    let note = format!("Init container init-workflow failed (exit 22): {} - Error", termination.render());
    let read = read_ready_message(&note).unwrap();
    let message = "no branch `mian` - did you mean `main`?".to_owned();
    assert_eq!(read.failure, ContainerFailure::Exit { exit: Exit::RefNotFound, message });
    assert_eq!(read.source, Some(Source::new("https://h/o/r.git", "mian", "")));

    for (note, expected) in [
        ("Init container init-workflow failed (exit 137):  - OOMKilled", Some(ContainerFailure::OutOfMemory)),
        (
            "Init container init-workflow failed (exit 128): exec: x - StartError",
            Some(ContainerFailure::NoContainer { why: "StartError: exec: x".into() }),
        ),
        (
            "Init container init-workflow failed (exit 20): a - b c",
            Some(ContainerFailure::Exit { exit: Exit::AuthenticationFailed, message: "a - b c".into() }),
        ),
        (
            "Init container init-workflow failed (exit 1)",
            Some(ContainerFailure::OtherExit { code: 1, message: String::new() }),
        ),
        (
            "Init container init-workflow failed (exit 143): 2026-01-01 INFO x - Error",
            Some(ContainerFailure::Interrupted { why: "it was terminated (exit 143)".into() }),
        ),
        ("Init container init-hydrate failed (exit 22): x - Error", None),
        ("Init container init-workflow failed (exit 0): x - Error", None),
        ("Init container init-workflow failed (exit x): y", None),
        ("Container failed", None),
        ("", None),
    ] {
        assert_eq!(read_ready_message(note).map(|read| read.failure), expected, "{note}");
    }
}

/// A running pod with an ephemeral container of generation 4 in this state.
fn live_pod(name: &str, stamp: &Stamp, state: &Value, change: Value) -> SessionPod {
    let value = stamp.to_annotation().unwrap().replace('$', "$$");
    let mut pod = json!({
        "spec": {"ephemeralContainers": [
            {"name": "debugger", "image": "busybox"},
            {"name": name, "image": IMAGE, "env": [{"name": "WORKFLOW_STAMP", "value": value}]},
        ]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": RUNNER_CONTAINER, "state": {"running": {"startedAt": "x"}}}],
            "ephemeralContainerStatuses": [{"name": name, "state": state}],
        },
    });
    merge(&mut pod, change);
    self::pod(pod)
}

#[test]
fn reads_deliveries_into_the_running_session() {
    let stamp = Stamp { source: Source::new("https://h/o/$x.git", "main", ""), generation: 4, ..stamp() };
    let message = |source: &str| {
        let details = Details {
            url: Some(source.into()),
            reference: Some("main".into()),
            commit: Some(COMMIT.into()),
            ..Details::new(Exit::Reconciled)
        };
        Termination { message: "delivered".into(), details: Some(details) }.render()
    };
    let end = |code: i32, message: &str| {
        json!({"terminated": {
            "exitCode": code, "reason": "x", "message": message, "finishedAt": "2026-01-01T00:00:30Z",
        }})
    };
    let read_one = |pod: SessionPod| read(&pod).unwrap().live.first().map(|one| one.outcome.clone());
    let live = |state: &Value, change| read_one(live_pod("deliver-workflow-4", &stamp, state, change));
    let none = json!({});
    let delivered = end(0, &message("https://h/o/$x.git"));
    assert_eq!(
        live(&delivered, none.clone()),
        Some(Outcome::Delivered { commit: COMMIT.into(), signer: None })
    );
    assert_eq!(live(&json!({"running": {}}), none.clone()), Some(Outcome::Fetching));
    let other = live(&end(0, &message("https://h/o/other.git")), none.clone());
    assert!(matches!(other, Some(Outcome::Undelivered(ContainerFailure::Unconfirmed { .. }))), "{other:?}");
    let runner_ended = json!({"status": {
        "phase": "Succeeded", "containerStatuses": [{"name": RUNNER_CONTAINER, "state": {"terminated": {}}}],
    }});
    for state in [end(137, ""), json!({"waiting": {"reason": "ContainerCreating"}})] {
        let interrupted = live(&state, runner_ended.clone());
        assert!(
            matches!(interrupted, Some(Outcome::Undelivered(ContainerFailure::Interrupted { .. }))),
            "{interrupted:?}"
        );
    }
    assert_eq!(
        read_one(live_pod("deliver-workflow-5", &stamp, &delivered, none.clone())),
        None,
        "another name"
    );
    let other = Stamp { session_uid: "another".into(), ..stamp.clone() };
    assert_eq!(read_one(live_pod("deliver-workflow-4", &other, &delivered, none.clone())), None);
    let runner = |change| read(&live_pod("deliver-workflow-4", &stamp, &delivered, change)).unwrap().runner;
    assert_eq!(runner(none), RunnerState::Running);
    assert_eq!(runner(runner_ended), RunnerState::Ended);
}
