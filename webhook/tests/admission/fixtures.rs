//! Pods, sessions, and how admission changes them.

use std::sync::Arc;

use json_patch::Patch;
use serde_json::{Value, json};
use workflow_injector::admission::patch::patch;
use workflow_injector::admission::plan::{self, Decision, Lookup};
use workflow_injector::config::Config;

/// Address of the fixture's session.
pub const NAMESPACE: &str = "team-a";

/// A session pod at its first call.
pub fn pod() -> Value {
    serde_json::from_str(include_str!("../data/pod.json")).unwrap()
}

/// A session pod with an `init-workflow` of its own at the wrong position.
pub fn pod_with_existing_container() -> Value {
    serde_json::from_str(include_str!("../data/pod-with-existing-container.json")).unwrap()
}

/// The session of both; its runner never ran.
pub fn session() -> Value {
    serde_json::from_str(include_str!("../data/session.json")).unwrap()
}

/// Sets a value at a JSON pointer; the parent must exist.
pub fn set(value: &mut Value, pointer: &str, new: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is there")) {
        Value::Object(object) => drop(object.insert(key.replace("~1", "/"), new)),
        Value::Array(list) if key == "-" => list.push(new),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = new,
        _ => panic!("{parent} holds values"),
    }
}

/// The value with changes at JSON pointers.
pub fn with<const N: usize>(mut value: Value, changes: [(&str, Value); N]) -> Value {
    for (pointer, new) in changes {
        set(&mut value, pointer, new);
    }
    value
}

/// The decision if the session is found.
pub fn decide<T>(pod: &Value, session: &Value, then: impl FnOnce(Decision<'_>) -> T) -> T {
    let lookup = Lookup::Found(Arc::new(serde_json::from_value(session.clone()).unwrap()));
    then(match plan::owner(pod) {
        Err(skip) => Decision::Skip(skip),
        Ok(owner) => plan::decide(owner, NAMESPACE, &lookup),
    })
}

/// The patch for a pod that is injected.
pub fn patch_for(pod: &Value, session: &Value, config: &Config) -> Patch {
    decide(pod, session, |decision| match decision {
        Decision::Inject(plan) => patch(pod, &plan, config),
        other => panic!("injected, not {other:?}"),
    })
}

/// The pod after admission by the given config. A second call must change nothing.
pub fn injected_by(pod: &Value, session: &Value, config: &Config) -> Value {
    let patch = patch_for(pod, session, config);
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patch_for(&patched, session, config), Patch::default(), "a second call changes nothing");
    patched
}

/// The pod after admission with the default config.
pub fn injected(pod: &Value, session: &Value) -> Value {
    injected_by(pod, session, &Config::default())
}

/// The container of that name, init containers first.
pub fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().find(|container| container["name"] == name).unwrap_or_else(|| panic!("{name} is there"))
}

/// The init container.
pub fn init(pod: &Value) -> &Value {
    container(pod, "init-workflow")
}

/// Entries of a name in a container's `env`.
pub fn entries<'p>(container: &'p Value, name: &str) -> Vec<&'p Value> {
    container["env"].as_array().into_iter().flatten().filter(|entry| entry["name"] == name).collect()
}

/// The one plain value of a name in a container's `env`, empty if it has none, `None` without entry.
pub fn value<'p>(container: &'p Value, name: &str) -> Option<&'p str> {
    match entries(container, name).as_slice() {
        [] => None,
        [entry] => Some(entry["value"].as_str().unwrap_or_default()),
        several => panic!("{name} is there once, not {several:?}"),
    }
}

/// An optional reference to a key of a Secret.
pub fn secret_key(name: &str, secret: &str, key: &str) -> Value {
    let reference = json!({"name": secret, "key": key, "optional": true});
    json!({"name": name, "valueFrom": {"secretKeyRef": reference}})
}
