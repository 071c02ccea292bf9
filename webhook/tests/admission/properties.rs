//! What holds for any pod.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use workflow_injector::admit::patch::patch;
use workflow_injector::admit::plan::{self, Decision, Lookup};
use workflow_injector::admit::review;
use workflow_injector::config::Config;

use crate::any::{any_pod, any_session};
use crate::fixtures::{injected, patch_for, pod, session};

/// The pod without what the contract names: what is left must not change.
fn rest(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove("workflow.ambient-code.io/injected");
    }
    if pod["metadata"]["annotations"].as_object().is_none_or(serde_json::Map::is_empty) {
        pod["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    let spec = pod["spec"].as_object_mut().unwrap();
    let ours = |variable: &Value| {
        let name = variable["name"].as_str().unwrap();
        name.starts_with("ACTIVE_WORKFLOW_") || name == "IS_RESUME"
    };
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            spec.remove(list);
            continue;
        };
        containers.retain(|container| container["name"] != "init-workflow");
        for container in containers.iter_mut() {
            let (runner, plain) = (container["name"] == "ambient-code-runner", list == "containers");
            if let Some(env) = container["env"].as_array_mut().filter(|_| runner || !plain) {
                env.retain(|variable| !(ours(variable) && (runner || variable["name"] != "IS_RESUME")));
            }
            if let Some(mounts) = container["volumeMounts"].as_array_mut().filter(|_| runner) {
                mounts.retain(|mount| mount["mountPath"] != "/workspace/workflows");
            }
            for key in ["env", "volumeMounts"] {
                if container[key].as_array().is_none_or(Vec::is_empty) {
                    container.as_object_mut().unwrap().remove(key);
                }
            }
        }
        if containers.is_empty() {
            spec.remove(list);
        }
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| {
            volume["secret"]["secretName"] != "workflow-credentials"
                && !volume["name"].as_str().unwrap().starts_with("workflows")
        });
    }
    if spec["volumes"].as_array().is_none_or(Vec::is_empty) {
        spec.remove("volumes");
    }
    pod
}

/// What the handler does between a body and its answer, the session being found.
fn answer(body: &[u8]) {
    let Ok(request) = review::parse(body) else { return };
    let Ok(owner) = plan::owner(&request.object) else { return };
    let lookup = Lookup::Found(Arc::new(serde_json::from_value(session()).unwrap()));
    if let Decision::Inject(plan) = plan::decide(owner, &request.namespace, &lookup) {
        let patch = patch(&request.object, &plan, &Config::default());
        let mut pod = Value::from(&request.object);
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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(cut in any::<proptest::sample::Index>(), bytes in vec(any::<u8>(), 0..8)) {
        answer(&bytes);
        let mut review = review_of(&pod()).into_bytes();
        let at = cut.index(review.len());
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(place) = review.get_mut(at + offset) {
                *place = *byte;
            }
        }
        answer(&review);
        answer(&review[..at]);
    }

    /// Where a value of an unexpected type stands, the patch still applies.
    #[test]
    fn no_pod_of_another_shape_makes_it_panic(
        pod in any_pod(),
        at in 0_usize..300,
        new in prop_oneof![Just(json!(null)), Just(json!(7)), Just(json!("x")), Just(json!([])), Just(json!({})), Just(json!([[]])), Just(json!([null]))],
    ) {
        let mut pod = pod;
        let mut at = at;
        replace(&mut pod["spec"], &mut at, &new);
        answer(review_of(&pod).as_bytes());
    }

    /// `injected` applies the patch by an independent implementation and asks for a second one.
    #[test]
    fn the_patch_applies_once_and_leaves_all_else_as_it_was(pod in any_pod(), session in any_session()) {
        let after = injected(&pod, &session);
        prop_assert_eq!(rest(&pod), rest(&after));
        let last = after["spec"]["initContainers"].as_array().unwrap().last().unwrap();
        prop_assert_eq!(&last["name"], "init-workflow");
        prop_assert_eq!(&last["securityContext"]["runAsNonRoot"], true);
        prop_assert_ne!(&last["securityContext"]["runAsUser"], 0);
        prop_assert_ne!(&last["securityContext"]["privileged"], true);
        prop_assert!(last["restartPolicy"].is_null() && last["command"].is_null());
    }

    #[test]
    fn no_value_of_ours_is_expanded_by_the_kubelet(pod in any_pod(), session in any_session()) {
        let mut pod = pod;
        if let Some(list) = pod["spec"]["initContainers"].as_array_mut() {
            list.retain(|container| container["name"] != "init-workflow");
        }
        let after = injected(&pod, &session);
        let last = after["spec"]["initContainers"].as_array().unwrap().last().unwrap();
        for variable in last["env"].as_array().unwrap() {
            let value = variable["value"].as_str().unwrap_or_default();
            prop_assert!(!value.replace("$$", "").contains('$'), "{}", variable);
            prop_assert!(!value.contains('\0'));
        }
    }

    /// Operations are few and all below the places that the contract names.
    #[test]
    fn every_operation_is_in_a_place_that_the_contract_names(pod in any_pod(), session in any_session()) {
        let patch = serde_json::to_value(patch_for(&pod, &session, &Config::default())).unwrap();
        for operation in patch.as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let named = path.starts_with("/metadata/annotations")
                || path.starts_with("/spec/initContainers")
                || path.starts_with("/spec/volumes")
                || (path.starts_with("/spec/containers/") && (path.contains("/env") || path.contains("/volumeMounts")));
            prop_assert!(named, "{}", operation);
        }
    }
}
