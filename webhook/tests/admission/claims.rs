//! Claims about any session pod, for the properties here and for the fuzzer `pods`.

use serde_json::Value;
use workflow_injector::config::Config;

use crate::fixtures::{injected, patch_for};

/// The pod without the parts that admission may change.
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

/// `injected` applies the patch with an independent implementation, and a second patch must be empty.
pub fn applies_once_and_leaves_the_rest_unchanged(pod: &Value, session: &Value) {
    let after = injected(pod, session);
    assert_eq!(rest(pod), rest(&after));
    let last = after["spec"]["initContainers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "init-workflow");
    assert_eq!(last["securityContext"]["runAsNonRoot"], true);
    assert_ne!(last["securityContext"]["runAsUser"], 0);
    assert_ne!(last["securityContext"]["privileged"], true);
    assert!(last["restartPolicy"].is_null() && last["command"].is_null());
}

/// The kubelet expands none of the values, except those that an existing container had before.
pub fn no_value_of_ours_is_expanded_by_the_kubelet(pod: &Value, session: &Value) {
    let mut pod = pod.clone();
    if let Some(list) = pod["spec"]["initContainers"].as_array_mut() {
        list.retain(|container| container["name"] != "init-workflow");
    }
    let after = injected(&pod, session);
    let last = after["spec"]["initContainers"].as_array().unwrap().last().unwrap();
    for variable in last["env"].as_array().unwrap() {
        let value = variable["value"].as_str().unwrap_or_default();
        assert!(!value.replace("$$", "").contains('$'), "{variable}");
        assert!(!value.contains('\0'));
    }
}

/// All operations are below the paths that the contract names.
pub fn every_operation_is_below_a_path_of_the_contract(pod: &Value, session: &Value) {
    let operations = serde_json::to_value(patch_for(pod, session, &Config::default())).unwrap();
    for operation in operations.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let named = path.starts_with("/metadata/annotations")
            || path.starts_with("/spec/initContainers")
            || path.starts_with("/spec/volumes")
            || (path.starts_with("/spec/containers/")
                && (path.contains("/env") || path.contains("/volumeMounts")));
        assert!(named, "{operation}");
    }
}
