//! Properties of admission, for generated pods.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use workflow_injector::admission::patch::patch;
use workflow_injector::admission::plan::{self, Decision, Lookup};
use workflow_injector::admission::review;
use workflow_injector::config::Config;

use crate::any::{any_pod, any_session};
use crate::claims;
use crate::fixtures::{pod, session, set, with};
use crate::router;

/// Handles a body as the handler does if the session is found.
fn handle(body: &[u8]) {
    let Ok(request) = review::parse(body) else { return };
    let Ok(owner) = plan::owner(request.object()) else { return };
    let lookup = Lookup::Found(Arc::new(serde_json::from_value(session()).unwrap()));
    if let Decision::Inject(plan) = plan::decide(owner, request.namespace(), &lookup) {
        let patch = patch(request.object(), &plan, &Config::default());
        let mut pod = request.object().clone();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
}

fn review_of(pod: &Value) -> String {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let request = json!({"uid": "u", "kind": kind, "operation": "CREATE", "namespace": "n", "object": pod});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

/// Replaces one value anywhere in a tree; `at` counts the values from the top.
fn replace(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, new)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, at, new)),
        _ => {}
    }
}

/// Code and body of the response to the creation of a pod.
fn response(router: &axum::Router, pod: &Value) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (status, body) = runtime.block_on(router::post(router, router::review(pod).to_string()));
    (status.as_u16(), String::from_utf8(body).unwrap())
}

proptest! {
    /// The uid is a capability: without it, a response is the same as if there were no session.
    #[test]
    fn response_without_the_uid_reveals_nothing_of_the_session(
        pod in any_pod(),
        session in any_session(),
        claimed in prop_oneof![Just(json!("")), Just(Value::Null), Just(json!("5E55104E-0000-4000-8000-000000000001")), "\\PC{0,12}".prop_map(Value::from)],
        name in prop_oneof![3 => Just("demo"), 1 => Just("other"), 1 => Just("../x")],
        opted_out in any::<bool>(),
    ) {
        prop_assume!(claimed != session["metadata"]["uid"]);
        let (mut pod, mut session) = (pod, session);
        set(&mut pod, "/metadata/ownerReferences/0/uid", claimed);
        set(&mut pod, "/metadata/ownerReferences/0/name", json!(name));
        if opted_out {
            set(&mut session, "/metadata/annotations", json!({"workflow.ambient-code.io/inject": "false"}));
        }
        let absent = with(session.clone(), [("/metadata/name", json!("another"))]);
        let (existing, missing) = (router::router(Ok(session.clone())).0, router::router(Ok(absent)).0);
        prop_assert_eq!(response(&existing, &pod), response(&missing, &pod));
        let cached = router::router_with_copy(Some(session)).0;
        prop_assert_eq!(response(&cached, &pod), response(&router::router_with_copy(None).0, &pod));
    }

    #[test]
    fn no_body_panics(cut in any::<proptest::sample::Index>(), bytes in vec(any::<u8>(), 0..8)) {
        handle(&bytes);
        let mut review = review_of(&pod()).into_bytes();
        let at = cut.index(review.len());
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(place) = review.get_mut(at + offset) {
                *place = *byte;
            }
        }
        handle(&review);
        handle(&review[..at]);
    }

    /// The patch applies also to a pod with a value of another type.
    #[test]
    fn no_pod_of_another_shape_panics(
        pod in any_pod(),
        at in 0_usize..300,
        new in prop_oneof![Just(json!(null)), Just(json!(7)), Just(json!("x")), Just(json!([])), Just(json!({})), Just(json!([[]])), Just(json!([null]))],
    ) {
        let mut pod = pod;
        let mut at = at;
        replace(&mut pod["spec"], &mut at, &new);
        handle(review_of(&pod).as_bytes());
    }

    #[test]
    fn the_patch_applies_once_and_leaves_the_rest_unchanged(pod in any_pod(), session in any_session()) {
        claims::applies_once_and_leaves_the_rest_unchanged(&pod, &session);
    }

    #[test]
    fn no_value_of_ours_is_expanded_by_the_kubelet(pod in any_pod(), session in any_session()) {
        claims::no_value_of_ours_is_expanded_by_the_kubelet(&pod, &session);
    }

    #[test]
    fn every_operation_is_below_a_path_of_the_contract(pod in any_pod(), session in any_session()) {
        claims::every_operation_is_below_a_path_of_the_contract(&pod, &session);
    }
}
