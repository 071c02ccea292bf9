//! Injection, admission without a change, and denial.

use std::sync::Arc;

use serde_json::{Value, json};
use workflow_contract::names::DENIAL_PREFIX;
use workflow_injector::admission::plan::{Decision, Denial, Lookup, Owner, Skip, decide, owner};

use crate::fixtures::{self, NAMESPACE, pod, session, with};

fn skip(pod: &Value, session: &Value) -> Option<Skip> {
    fixtures::decide(pod, session, |decision| match decision {
        Decision::Skip(skip) => Some(skip),
        _ => None,
    })
}

fn denial(lookup: &Lookup) -> Denial {
    match decide(owner(&pod()).unwrap(), NAMESPACE, lookup) {
        Decision::Deny(denial) => denial,
        other => panic!("denied, not {other:?}"),
    }
}

#[test]
fn injects_session_pod_with_workflow() {
    assert_eq!(skip(&pod(), &session()), None);
}

#[test]
fn admits_other_pods_unchanged() {
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
        assert!(owner(&nonsense).is_err());
    }
}

#[test]
fn accepts_owner_of_a_later_api_version() {
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
    assert_eq!(owner(&pod).unwrap().name, "demo");
}

#[test]
fn admits_pod_of_session_without_workflow_unchanged() {
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
    // Not empty, so a workflow is requested: the init container reports that it is invalid.
    let blank = with(session(), [("/spec/activeWorkflow/gitUrl", json!("  "))]);
    assert_eq!(skip(&pod(), &blank), None);
}

#[test]
fn injects_invalid_source_with_a_warning_without_secrets() {
    for (pointer, value) in [
        ("/spec/activeWorkflow/gitUrl", "not a url"),
        ("/spec/activeWorkflow/gitUrl", "ftp://user:s3cret@host/a"),
        ("/spec/activeWorkflow/gitUrl", "http://user:s3cret@host/a"),
        ("/spec/activeWorkflow/branch", "a..b"),
        ("/spec/activeWorkflow/path", "../x"),
    ] {
        let session = with(session(), [(pointer, json!(value))]);
        let warning = fixtures::decide(&pod(), &session, |decision| match decision {
            Decision::Inject(plan) => plan.source_error(&workflow_contract::Policy::default()),
            other => panic!("injected, not {other:?}"),
        });
        let warning = warning.unwrap_or_else(|| panic!("{value} is warned of"));
        assert!(!warning.contains("s3cret"), "{warning}");
    }
}

#[test]
fn denies_pod_of_missing_and_of_recreated_session_alike() {
    let missing = denial(&Lookup::Missing);
    assert_eq!(missing.code, 403);
    let expected = format!(
        "{DENIAL_PREFIX}no AgenticSession `team-a/demo` with the uid in the pod's ownerReference exists"
    );
    assert!(missing.message.starts_with(&expected), "{}", missing.message);
    let other = with(session(), [("/metadata/uid", json!("another"))]);
    let recreated = denial(&Lookup::Found(Arc::new(serde_json::from_value(other).unwrap())));
    assert_eq!((recreated.code, &recreated.message), (missing.code, &missing.message));
    assert_ne!(recreated.cause, missing.cause, "the log distinguishes them");
}

#[test]
fn denies_pod_without_uid_even_if_the_session_has_none() {
    let session = with(session(), [("/metadata/uid", Value::Null)]);
    let lookup = Lookup::Found(Arc::new(serde_json::from_value(session).unwrap()));
    assert!(matches!(decide(Owner { name: "demo", uid: "" }, NAMESPACE, &lookup), Decision::Deny(_)));
}

#[test]
fn denies_pod_of_unreadable_session_with_one_line() {
    let denial = denial(&Lookup::Unavailable("connection\nreset".into()));
    assert_eq!(denial.code, 503);
    assert!(denial.message.contains(r"(connection\nreset)"), "{}", denial.message);
}
