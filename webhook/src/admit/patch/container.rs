//! The init container itself: a new one, or one of its name brought to ours; last in either case.
//!
//! Last, because `init-hydrate` restores the workspace over whatever was there before it.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Value, json};
use workflow_contract::env::default::TERMINATION_LOG;
use workflow_contract::names::INIT_CONTAINER;

use super::environment::{Environment, Variable};
use super::ops::{LAST, Ops, below, item};
use super::pod::Pod;
use super::variables;
use super::{security, volumes};
use crate::admit::json::{self, Json};
use crate::admit::plan::Plan;
use crate::config::Config;

/// Members that a container of our name must not have: the first two would run something else, the
/// rest makes it a sidecar, which need not end before the runner starts, or belongs to one.
const FORBIDDEN: [&str; 9] = [
    "command",
    "args",
    "restartPolicy",
    "restartPolicyRules",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "resizePolicy",
];

/// Writes the init container.
pub fn write(ops: &mut Ops, pod: &Pod<'_, '_>, plan: &Plan<'_>, config: &Config, mounts: Vec<Value>) {
    let variables = variables::wanted(pod, plan, config);
    if let Some(index) = pod.ours_index {
        bring(ops, pod, index, config, &variables, mounts);
    } else {
        let list = PointerBuf::from_tokens(["spec", "initContainers"]);
        let exists = json::get(pod.spec, "initContainers").is_array();
        ops.append(&list, exists, vec![new(pod, config, variables, &mounts)]);
    }
}

fn new(pod: &Pod<'_, '_>, config: &Config, variables: Vec<Variable>, mounts: &[Value]) -> Value {
    let env: Vec<Value> = variables.into_iter().flat_map(|variable| variable.entries).collect();
    let mut container = json!({
        "name": INIT_CONTAINER,
        "image": config.image,
        "env": env,
        "resources": config.resources,
        "securityContext": security::wanted(pod),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    });
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = Value::from(policy.as_str());
    }
    container
}

fn bring(
    ops: &mut Ops,
    pod: &Pod<'_, '_>,
    index: usize,
    config: &Config,
    variables: &[Variable],
    mounts: Vec<Value>,
) {
    let container = &pod.init_containers[index];
    let at = item("initContainers", index);
    for member in FORBIDDEN {
        if !json::get(container, member).is_null() {
            ops.remove(below(&at, member));
        }
    }
    let mut texts = vec![
        ("image", config.image.as_str()),
        ("terminationMessagePath", TERMINATION_LOG),
        ("terminationMessagePolicy", "FallbackToLogsOnError"),
    ];
    texts.extend(config.image_pull_policy.as_deref().map(|policy| ("imagePullPolicy", policy)));
    for (member, wanted) in texts {
        let current = json::text(container, member);
        // The API server's default, written by it between two calls.
        let by_default = member == "terminationMessagePath" && current.is_empty();
        if current != wanted && !by_default {
            ops.add(below(&at, member), Value::from(wanted));
        }
    }
    if !has_resources(container) {
        ops.add(below(&at, "resources"), config.resources.clone());
    }
    let mut environment = Environment::of(container, &at);
    environment.clear(|name| variables::is_own(name) && !variables.iter().any(|known| known.name == name));
    for variable in variables {
        environment.set(ops, variable);
    }
    environment.finish(ops);
    volumes::bring(ops, container, &at, mounts);
    security::bring(ops, container, &at, security::wanted(pod));
    if index + 1 < pod.init_containers.len() {
        ops.relocate(at, PointerBuf::from_tokens(["spec", "initContainers", LAST]));
    }
}

/// Whether anybody has set resources already: these stay, because ours beside somebody's limits
/// could make the pod invalid.
fn has_resources(container: &Json<'_>) -> bool {
    let resources = json::get(container, "resources");
    ["requests", "limits"]
        .iter()
        .any(|kind| json::get(resources, kind).as_object().is_some_and(|set| !set.is_empty()))
}
