//! The rows of the status table, and the states before and without a condition.

use jiff::Timestamp;
use serde_json::{Value, json};
use workflow_contract::names::STAMP_ANNOTATION;
use workflow_contract::{Source, Stamp};

use super::objects::{Event, Gathered, Pod, Registration};
use super::report::{Report, report};
use crate::status::condition::{Action, decide};
use crate::status::live::LiveDelivery;

const URL: &str = "https://bot:hunter2@git.example/o/repo.git";
const SHOWN: &str = "https://git.example/o/repo.git (main, flows/a)";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const IMAGE: &str = "registry.example/init-fetcher:1";

fn at(second: u32) -> String {
    format!("2026-11-27T01:00:{second:02}Z")
}

fn time(second: u32) -> Timestamp {
    at(second).parse().unwrap()
}

fn session(phase: &str) -> Value {
    json!({
        "metadata": {
            "name": "s", "namespace": "team", "uid": "u", "generation": 2, "creationTimestamp": at(0),
        },
        "spec": {"activeWorkflow": {"gitUrl": URL, "path": "flows/a"}},
        "status": {"phase": phase, "startTime": at(1), "conditions": []},
    })
}

fn with_condition(mut session: Value, type_: &str, status: &str, reason: &str, message: &str) -> Value {
    session["status"]["conditions"].as_array_mut().unwrap().push(json!({
        "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(9),
    }));
    session
}

fn reconciled(session: Value, status: &str, reason: &str) -> Value {
    with_condition(session, "WorkflowReconciled", status, reason, "the message")
}

fn recorded(mut session: Value, applied_at: &str) -> Value {
    session["status"]["reconciledWorkflow"] = json!({"gitUrl": URL, "branch": "main", "path": "flows/a", "status": "Active", "appliedAt": applied_at});
    session
}

fn stamp() -> Stamp {
    Stamp {
        source: Source::new(URL, "", "flows/a"),
        generation: 2,
        session_uid: "u".into(),
        image: IMAGE.into(),
    }
}

/// The session's pod with this state of `init-workflow`.
fn pod(phase: &str, state: &Value) -> Value {
    json!({
        "metadata": {
            "name": "s-runner", "namespace": "team", "uid": "p", "creationTimestamp": at(2),
            "annotations": {STAMP_ANNOTATION: stamp().to_annotation().unwrap()},
            "ownerReferences": [{
                "apiVersion": "vteam.ambient-code/v1alpha1", "kind": "AgenticSession", "name": "s", "uid": "u",
                "controller": true,
            }],
        },
        "spec": {
            "initContainers": [{"name": "init-hydrate"}, {"name": "init-workflow", "image": IMAGE}],
            "containers": [{
                "name": "ambient-code-runner", "env": [{"name": "ACTIVE_WORKFLOW_GIT_URL", "value": "u"}],
            }],
        },
        "status": {"phase": phase, "initContainerStatuses": [
            {"name": "init-hydrate", "state": ended(0, "Completed", "")},
            {"name": "init-workflow", "state": state},
        ]},
    })
}

fn bare_pod(variables: bool) -> Value {
    let mut pod = pod("Running", &json!({}));
    pod["metadata"]["annotations"] = Value::Null;
    pod["spec"]["initContainers"].as_array_mut().unwrap().pop();
    pod["status"]["initContainerStatuses"].as_array_mut().unwrap().pop();
    if !variables {
        pod["spec"]["containers"][0]["env"] = Value::Null;
    }
    pod
}

fn ended(code: i32, reason: &str, message: &str) -> Value {
    json!({"terminated": {
        "exitCode": code, "reason": reason, "message": message, "startedAt": at(3), "finishedAt": at(6),
    }})
}

fn delivered() -> Value {
    let line = json!({
        "v": 1, "reason": "Reconciled", "url": "https://git.example/o/repo.git", "ref": "main", "path": "flows/a",
        "commit": COMMIT,
    });
    ended(0, "Completed", &format!("delivered\n{line}"))
}

fn gathered(session: Value, pod: Option<&Value>) -> Gathered {
    Gathered {
        session: serde_json::from_value(session).unwrap(),
        registration: Registration::Since("2026-11-01T00:00:00Z".parse().unwrap()),
        pod: pod.map(|pod| Pod::from_json(pod).unwrap()),
        events: Vec::new(),
        unreadable: Vec::new(),
    }
}

fn reported(found: &Gathered) -> Report {
    report(found, time(30))
}

/// The text of the line with this label.
fn line<'a>(report: &'a Report, label: &str) -> &'a str {
    let found = report.lines.iter().find_map(|line| line.strip_prefix(label));
    found.unwrap_or_else(|| panic!("no line `{label}` in {:#?}", report.lines)).trim()
}

/// Checks result and advice before the status controller has written its condition, and after.
#[track_caller]
fn expect(mut found: Gathered, settled: bool, result: &str, to_do: &str) {
    for written in [false, true] {
        let report = reported(&found);
        assert_eq!(line(&report, "result"), result, "{:#?}", report.lines);
        assert!(line(&report, "to do").contains(to_do), "{:#?}", report.lines);
        assert!(report.lines.last().unwrap().starts_with("to do"), "{:#?}", report.lines);
        assert_eq!(report.settled, settled, "{:#?}", report.lines);
        assert!(!report.lines.concat().contains("hunter2"), "{:#?}", report.lines);
        let change = decide(&found.session, found.own_pod(), Some(time(0)), &LiveDelivery::Off, time(20));
        let change = change.filter(|_| matches!(found.registration, Registration::Since(at) if at < time(0)));
        let pending = report.lines.iter().any(|line| line.starts_with("pending"));
        assert_eq!(pending, change.is_some(), "{:#?}", report.lines);
        let Some(Action::Write(change)) = change else { return };
        assert!(!written, "written once");
        let status = found.session.status.as_mut().unwrap();
        status.conditions.retain(|one| one.type_ != change.condition.type_);
        status.conditions.push(change.condition);
        status.reconciled_workflow = change.workflow;
    }
}

#[test]
fn every_state_of_an_injected_pod_has_its_result_and_advice() {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "m"}});
    let start = "start the session again (kubectl -n team annotate --overwrite agenticsession s ambient-code.io/desired-phase=Running)";
    let stop = "stop the session, then start it again";
    let not = |reason: &str| format!("the workflow is not delivered: {reason}");
    for (phase, state, settled, result, to_do) in [
        (
            "Creating",
            waiting("PodInitializing"),
            false,
            "the workflow is being delivered".into(),
            "wait until",
        ),
        (
            "Creating",
            json!({"running": {"startedAt": at(3)}}),
            false,
            "the workflow is being delivered".into(),
            "wait until",
        ),
        ("Running", delivered(), true, "the workflow is delivered".into(), "nothing needs to be done"),
        ("Failed", ended(137, "OOMKilled", ""), false, not("OutOfMemory"), "`resources`"),
        ("Creating", waiting("ErrImagePull"), false, not("ImagePullFailed"), "`imagePullSecrets`"),
        ("Creating", waiting("CreateContainerConfigError"), false, not("ContainerFailed"), stop),
        ("Failed", ended(128, "StartError", "x"), false, not("ContainerFailed"), start),
        ("Failed", ended(3, "Error", "x"), false, not("FetchFailed"), "the log of init-workflow"),
        ("Running", ended(0, "Completed", "no proof"), false, not("FetchFailed"), stop),
    ] {
        let pod_phase = if phase == "Creating" { "Pending" } else { phase };
        expect(gathered(session(phase), Some(&pod(pod_phase, &state))), settled, &result, to_do);
    }
}

#[test]
fn every_exit_code_has_its_advice() {
    let mut observed = std::collections::BTreeSet::new();
    for exit in workflow_contract::Exit::ALL.iter().filter(|exit| exit.code() != 0) {
        let pod = pod("Failed", &ended(i32::from(exit.code()), "Error", "line 1"));
        let found = gathered(session("Failed"), Some(&pod));
        let result = format!("the workflow is not delivered: {}", exit.reason());
        let report = reported(&found);
        assert!(observed.insert(line(&report, "to do").to_owned()), "{exit}: {:#?}", report.lines);
        expect(found, false, &result, ", then start the session again (kubectl");
    }
}

#[test]
fn interrupted_pods_are_started_again() {
    let mut evicted = pod("Failed", &ended(137, "Error", ""));
    evicted["status"]["reason"] = json!("Evicted");
    let deleted = pod("Failed", &json!({"waiting": {"reason": "PodInitializing"}}));
    for pod in [evicted, deleted] {
        let result = "the workflow is not delivered: Interrupted";
        expect(gathered(session("Failed"), Some(&pod)), false, result, "start the session again");
    }
}

#[test]
fn a_pod_without_the_init_container_is_for_the_admin() {
    let found = gathered(session("Running"), Some(&bare_pod(true)));
    assert!(reported(&found).lines.concat().contains("pod s-runner created, not injected"));
    expect(found, false, "the workflow is not delivered: NotInjected", "`workflow-injector check`");
}

#[test]
fn a_changed_workflow_needs_a_restart() {
    let mut changed = session("Running");
    changed["spec"]["activeWorkflow"]["gitUrl"] = json!("https://git.example/o/other.git");
    changed["metadata"]["generation"] = json!(3);
    let result = "the workflow is not delivered: RestartRequired";
    let command = "stop the session, then start it again (kubectl -n team annotate";
    expect(gathered(changed, Some(&pod("Running", &delivered()))), false, result, command);
    expect(gathered(session("Running"), Some(&bare_pod(false))), false, result, command);
}

#[test]
fn keeps_the_outcome_of_a_deleted_pod() {
    let unknown = "the workflow is not delivered: OutcomeUnknown";
    expect(gathered(session("Stopped"), None), false, unknown, "start the session again");
    let note = "Init container init-workflow failed (exit 22): no branch `mian` - Error";
    let noted = with_condition(session("Failed"), "Ready", "False", "PodFailed", note);
    let result = "the workflow is not delivered: RefNotFound";
    expect(gathered(noted, None), false, result, "correct spec.activeWorkflow.branch, then start");
    let stood = recorded(reconciled(session("Completed"), "True", "Reconciled"), "2026-11-27T01:00:06.001Z");
    expect(gathered(stood, None), true, "the workflow is delivered", "nothing needs to be done");
}

#[test]
fn nothing_is_expected_of_sessions_that_ask_for_nothing_or_opted_out() {
    let mut bare = session("Running");
    bare["spec"]["activeWorkflow"] = Value::Null;
    expect(gathered(bare, Some(&bare_pod(false))), true, "the session asks for no workflow", "nothing");
    let mut removed = reconciled(session("Running"), "False", "RefNotFound");
    removed["spec"]["activeWorkflow"]["gitUrl"] = json!("");
    let found = gathered(removed, None);
    assert!(reported(&found).settled, "whatever condition is left");
    let mut out = session("Running");
    out["metadata"]["annotations"] = json!({"workflow.ambient-code.io/inject": "false"});
    let result = "the session is left to the platform's own delivery (workflow.ambient-code.io/inject=false)";
    expect(gathered(out, Some(&bare_pod(true))), true, result, "remove the annotation");
}

#[test]
fn a_denied_pod_is_no_outcome_of_an_earlier_run() {
    let message =
        "admission webhook denied the request: workflow-injector denies this pod: https://u:hunter2@h/r";
    for (phase, earlier) in [("Pending", false), ("Pending", true), ("Stopped", false)] {
        let mut denied = with_condition(session(phase), "PodCreated", "False", "CreateFailed", message);
        if earlier {
            denied = recorded(reconciled(denied, "True", "Reconciled"), "2026-11-26T00:00:00.001Z");
        }
        let found = gathered(denied, None);
        assert!(reported(&found).lines.concat().contains("PodCreated=False/CreateFailed"));
        expect(
            found,
            false,
            "the session's pod could not be created",
            "what the message of PodCreated names",
        );
    }
}

#[test]
fn distinguishes_runs_that_the_injector_does_not_report() {
    let running = |registration| Gathered {
        registration,
        ..gathered(reconciled(session("Running"), "False", "UpdateFailed"), Some(&bare_pod(true)))
    };
    let before = "the run began before workflow-injector was registered";
    expect(running(Registration::Since(time(5))), false, before, "stop the session, then start it again");
    let absent = "workflow-injector is not registered, so nothing is delivered";
    expect(running(Registration::Absent), false, absent, "ask an admin to install it, then stop");

    let mut fresh = session("Pending");
    fresh["status"]["startTime"] = Value::Null;
    let result = "the platform's operator has not begun to run the session";
    expect(gathered(fresh, None), false, result, "wait");
    expect(gathered(session("Creating"), None), false, "the session has no pod now", "wait");
    let mut deleted = session("Pending");
    deleted["metadata"]["deletionTimestamp"] = json!(at(9));
    expect(gathered(deleted, None), false, "the session is being deleted", "create the session again");
}

#[test]
fn names_the_author_of_a_condition_by_its_reason_and_the_record() {
    let of = |session: Value| {
        let report = reported(&gathered(session, None));
        let found = report.lines.iter().find(|line| line.contains("WorkflowReconciled=")).cloned();
        found.and_then(|line| line.rsplit_once("(by ").map(|(_, author)| author.to_owned())).unwrap()
    };
    let ours = "workflow-injector)";
    let platforms = "the platform)";
    for (status, reason, applied_at, author) in [
        ("False", "RefNotFound", None, ours),
        ("False", "RestartRequired", None, ours),
        ("False", "UpdateFailed", None, platforms),
        ("True", "Reconciled", Some("2026-11-27T01:00:06.001Z"), ours),
        ("True", "Reconciled", Some("2026-11-27T01:00:06Z"), platforms),
        ("True", "Reconciled", None, platforms),
        ("True", "NotConfigured", None, "the platform or workflow-injector)"),
    ] {
        let session = reconciled(session("Running"), status, reason);
        let session = applied_at.map_or(session.clone(), |applied_at| recorded(session, applied_at));
        assert_eq!(of(session), author, "{status}/{reason} {applied_at:?}");
    }
}

#[test]
fn the_history_is_in_order_with_times_and_names_what_was_injected() {
    let failed = pod(
        "Failed",
        &ended(22, "Error", "no branch `mian`; did you mean `main`?\n{\"v\":1,\"reason\":\"RefNotFound\"}"),
    );
    let session = recorded(
        with_condition(session("Failed"), "WorkflowReconciled", "False", "RefNotFound", "no branch"),
        "2026-11-27T01:00:06.001Z",
    );
    let mut found = gathered(session, Some(&failed));
    let event = |kind: &str, uid: &str, type_: &str, second| {
        let event = json!({
            "involvedObject": {"kind": kind, "uid": uid}, "reason": "R", "message": "m", "type": type_, "count": 2,
            "lastTimestamp": at(second),
        });
        Event::from_json(&event).unwrap()
    };
    found.events = vec![
        event("AgenticSession", "u", "Warning", 10),
        event("AgenticSession", "another", "Warning", 11),
        event("Pod", "p", "Normal", 12),
        event("Pod", "p", "Warning", 5),
        event("Pod", "p", "Warning", 0),
    ];
    assert_eq!(
        reported(&found).lines,
        [
            "session               team/s, phase Failed, generation 2".to_owned(),
            format!("asks for              {SHOWN}"),
            "registration          since 2026-11-01T00:00:00Z".to_owned(),
            format!("{}  session created", at(0)),
            format!("{}  run started", at(1)),
            format!("{}  pod s-runner created, injected with {SHOWN} for generation 2, image {IMAGE}", at(2)),
            format!("{}  Event R on the pod (2 times): m", at(5)),
            format!("{}  init container init-hydrate ended with exit code 0 after 3 s", at(6)),
            format!(
                "{}  init container init-workflow ended with exit code 22 (RefNotFound) after 3 s: no branch `mian`; did you mean `main`?",
                at(6)
            ),
            format!("{}  WorkflowReconciled=False/RefNotFound \"no branch\" (by workflow-injector)", at(9)),
            format!("{}  Event R on the session (2 times): m", at(10)),
            "pending               workflow-injector is to write WorkflowReconciled=False/RefNotFound \"no branch `mian`; did you mean `main`?\"; if it does not, no leader writes (see its log)".to_owned(),
            "result                the workflow is not delivered: RefNotFound".to_owned(),
            "to do                 correct spec.activeWorkflow.branch, then start the session again (kubectl -n team annotate --overwrite agenticsession s ambient-code.io/desired-phase=Running)".to_owned(),
        ]
    );
}

#[test]
fn the_rule_for_signatures_is_shown() {
    let mut pod = pod("Running", &delivered());
    let rule = json!({"require": "commit", "sshSigners": "# list\na ssh-ed25519 A $$(X)\n\nb ssh-rsa B\n"});
    pod["spec"]["initContainers"][1]["env"] =
        json!([{"name": "WORKFLOW_SIGNERS", "value": rule.to_string()}]);
    let shown = format!("image {IMAGE}, requires a signed commit (verify: 2 sshSigners, 0 openpgpKeys)");
    let found = gathered(session("Running"), Some(&pod));
    assert!(reported(&found).lines.iter().any(|line| line.ends_with(&shown)), "{:?}", reported(&found).lines);
}

#[test]
fn live_deliveries_are_listed() {
    let mut pod = pod("Running", &delivered());
    pod["status"]["ephemeralContainerStatuses"] = json!([
        {"name": "deliver-workflow-3", "state": ended(23, "Error", "no such directory")},
        {"name": "debugger", "state": {}},
    ]);
    let report = reported(&gathered(session("Running"), Some(&pod)));
    let lines: Vec<_> = report.lines.iter().filter(|line| line.contains("ephemeral")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].ends_with(
            "ephemeral container deliver-workflow-3 ended with exit code 23 (PathNotFound) after 3 s: no such directory"
        ),
        "{lines:?}"
    );
}

#[test]
fn a_pod_of_another_session_is_not_this_sessions() {
    let mut other = pod("Running", &delivered());
    other["metadata"]["ownerReferences"][0]["uid"] = json!("another");
    let found = gathered(session("Creating"), Some(&other));
    assert!(reported(&found).lines.concat().contains("for another session"));
    expect(found, false, "the session has no pod now", "wait");
}

#[test]
fn a_skipped_prompt_and_missing_permissions_are_named() {
    let session = with_condition(session("Stopped"), "RunnerStarted", "False", "UserStopped", "");
    let mut found = gathered(session, None);
    found.unreadable = vec!["pods", "Events"];
    let report = reported(&found);
    assert!(line(&report, "prompt").starts_with("the next start skips the initial prompt"));
    assert!(line(&report, "unreadable").starts_with("pods, Events: you lack the permission"));
    assert!(!report.lines.concat().contains("there is no pod"));
}

#[test]
fn text_from_elsewhere_stays_on_its_line_without_secrets() {
    let message = "failed\nto POST ftp://a:hunter2@h/x and https://bot:hunter2@git.example/o/repo.git!";
    let report =
        reported(&gathered(with_condition(session("Running"), "Ready", "False", "X", message), None));
    let text = report.lines.join("\n");
    assert!(text.contains(r"failed\nto POST ftp://h/x and https://git.example/o/repo.git!"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
