//! Which pods are injected, left alone, refused.

use std::sync::Arc;

use json_index::Document;
use serde_json::{Value, json};
use workflow_injector::admit::plan::{Decision, Lookup, Owner, REFUSES, Refusal, Skip, decide, owner};

use crate::fixtures::{self, NAMESPACE, pod, session, with};

fn skip(pod: &Value, session: &Value) -> Option<Skip> {
    fixtures::decide(pod, session, |_, decision| match decision {
        Decision::Skip(skip) => Some(skip),
        _ => None,
    })
}

fn refusal(lookup: &Lookup) -> Refusal {
    let pod = pod().to_string();
    let pod = Document::read(&pod).unwrap();
    match decide(owner(pod.root()).unwrap(), NAMESPACE, lookup) {
        Decision::Refuse(refusal) => refusal,
        other => panic!("refused, not {other:?}"),
    }
}

#[test]
fn a_session_pod_with_a_workflow_is_injected() {
    assert_eq!(skip(&pod(), &session()), None);
}

#[test]
fn what_is_no_session_pod_is_left_alone() {
    let owners = "/metadata/ownerReferences/0";
    for (pointer, value, why) in [
        ("/metadata/labels", Value::Null, Skip::NotLabelled),
        ("/metadata/labels/app", json!("other"), Skip::NotLabelled),
        ("/metadata/labels/agentic-session", Value::Null, Skip::NotLabelled),
        ("/metadata/annotations", json!({"kubernetes.io/config.mirror": "x"}), Skip::MirrorPod),
        ("/metadata/ownerReferences", Value::Null, Skip::NotControlled),
        ("/metadata/ownerReferences", json!([]), Skip::NotControlled),
        (&format!("{owners}/controller"), json!(false), Skip::NotControlled),
        (&format!("{owners}/controller"), Value::Null, Skip::NotControlled),
        (&format!("{owners}/kind"), json!("Job"), Skip::NotControlled),
        (&format!("{owners}/apiVersion"), json!("batch/v1"), Skip::NotControlled),
        (&format!("{owners}/apiVersion"), json!("vteam.ambient-code.evil/v1"), Skip::NotControlled),
        ("/spec/containers/0/name", json!("other"), Skip::NoRunner),
        ("/spec/containers", Value::Null, Skip::NoRunner),
    ] {
        assert_eq!(
            skip(&with(pod(), [(pointer, value.clone())]), &session()),
            Some(why),
            "{pointer} {value}"
        );
    }
    for nonsense in [json!(null), json!([]), json!("x"), json!({"metadata": 1, "spec": 2})] {
        let nonsense = nonsense.to_string();
        assert!(owner(Document::read(&nonsense).unwrap().root()).is_err());
    }
}

#[test]
fn an_owner_of_a_later_version_is_a_session_too() {
    let pod = with(pod(), [("/metadata/ownerReferences/0/apiVersion", json!("vteam.ambient-code/v1"))]);
    assert_eq!(skip(&pod, &session()), None);
}

#[test]
fn only_the_controlling_owner_counts() {
    let session_owner = pod()["metadata"]["ownerReferences"][0].clone();
    let mut other = session_owner.clone();
    other["name"] = json!("other");
    other["controller"] = json!(false);
    let pod = with(pod(), [("/metadata/ownerReferences", json!([other, session_owner]))]);
    let pod = pod.to_string();
    assert_eq!(owner(Document::read(&pod).unwrap().root()).unwrap().name, "demo");
}

#[test]
fn a_session_that_asks_for_nothing_is_left_alone() {
    for (pointer, value, why) in [
        ("/spec/activeWorkflow", Value::Null, Skip::NoWorkflow),
        ("/spec/activeWorkflow/gitUrl", json!(""), Skip::NoWorkflow),
        ("/metadata/annotations", json!({"workflow.ambient-code.io/inject": "false"}), Skip::OptedOut),
    ] {
        assert_eq!(skip(&pod(), &with(session(), [(pointer, value)])), Some(why), "{pointer}");
    }
    let other =
        with(session(), [("/metadata/annotations", json!({"workflow.ambient-code.io/inject": "no"}))]);
    assert_eq!(skip(&pod(), &other), None);
    // Not empty, so something was asked for: the init container says what is wrong with it.
    let blank = with(session(), [("/spec/activeWorkflow/gitUrl", json!("  "))]);
    assert_eq!(skip(&pod(), &blank), None);
}

#[test]
fn a_source_that_cannot_be_valid_is_injected_with_a_warning_that_shows_no_secret() {
    for (pointer, value) in [
        ("/spec/activeWorkflow/gitUrl", "not a url"),
        ("/spec/activeWorkflow/gitUrl", "ftp://user:s3cret@host/a"),
        ("/spec/activeWorkflow/gitUrl", "http://user:s3cret@host/a"),
        ("/spec/activeWorkflow/branch", "a..b"),
        ("/spec/activeWorkflow/path", "../x"),
    ] {
        let session = with(session(), [(pointer, json!(value))]);
        let warning = fixtures::decide(&pod(), &session, |_, decision| match decision {
            Decision::Inject(plan) => plan.trouble(&workflow_contract::Policy::default()),
            other => panic!("injected, not {other:?}"),
        });
        let warning = warning.unwrap_or_else(|| panic!("{value} is warned of"));
        assert!(!warning.contains("s3cret"), "{warning}");
    }
}

#[test]
fn denies_pod_of_missing_and_of_recreated_session_alike() {
    let missing = refusal(&Lookup::Missing);
    assert_eq!(missing.code, 403);
    let expected =
        format!("{REFUSES}no AgenticSession `team-a/demo` with the uid in the pod's ownerReference exists");
    assert!(missing.message.starts_with(&expected), "{}", missing.message);
    let other = with(session(), [("/metadata/uid", json!("another"))]);
    let recreated = refusal(&Lookup::Found(Arc::new(serde_json::from_value(other).unwrap())));
    assert_eq!((recreated.code, &recreated.message), (missing.code, &missing.message));
    assert_ne!(recreated.cause, missing.cause, "the log distinguishes them");
}

#[test]
fn rejects_a_pod_whose_uid_is_as_absent_as_the_sessions() {
    let session = with(session(), [("/metadata/uid", Value::Null)]);
    let lookup = Lookup::Found(Arc::new(serde_json::from_value(session).unwrap()));
    assert!(matches!(decide(Owner { name: "demo", uid: "" }, NAMESPACE, &lookup), Decision::Refuse(_)));
}

#[test]
fn rejects_a_pod_whose_session_nobody_can_read_with_one_line() {
    let refusal = refusal(&Lookup::Unavailable("connection\nreset".into()));
    assert_eq!(refusal.code, 503);
    assert!(refusal.message.contains(r"(connection\nreset)"), "{}", refusal.message);
}
