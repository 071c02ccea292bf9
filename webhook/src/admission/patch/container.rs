//! The init container: a new one, or one of its name with our settings; last in either case.
//!
//! Last, because `init-hydrate` restores the workspace over existing files.

use std::borrow::Cow;

use serde_json::{Value, json};
use workflow_contract::env::default::TERMINATION_LOG;
use workflow_contract::names::INIT_CONTAINER;

use super::env::Env;
use super::pod::Pod;
use super::reconcile::List;
use super::variables::{self, Wanted};
use super::{security, volumes};
use crate::admission::json::text;
use crate::admission::plan::Plan;
use crate::config::Config;

/// Without a termination message, the end of the log is shown.
pub const MESSAGE_POLICY: &str = "FallbackToLogsOnError";

/// Members that a container of our name must not have: the first two would run something else, the others make
/// it a sidecar, which need not end before the runner starts, or belong to one.
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

/// Builds the pod's init containers.
pub fn init_containers<'v>(pod: &Pod<'v>, plan: &Plan<'_>, config: &Config, mounts: Vec<Value>) -> List<'v> {
    let mut containers: List<'_> =
        pod.other_init_containers().map(|(_, other)| Cow::Borrowed(other)).collect();
    let wanted = variables::wanted(pod, plan, config);
    containers.push(Cow::Owned(match pod.ours() {
        Some(ours) => merged(ours, pod, config, wanted, &mounts),
        None => new(pod, config, wanted, mounts),
    }));
    containers
}

/// Builds a new container, its members in the API server's order.
fn new(pod: &Pod<'_>, config: &Config, wanted: Wanted, mounts: Vec<Value>) -> Value {
    // The macro would copy the lists; their places are kept.
    let mut container = json!({
        "name": INIT_CONTAINER,
        "image": config.image,
        "env": [],
        "resources": config.resources,
        "volumeMounts": [],
        "terminationMessagePolicy": MESSAGE_POLICY,
    });
    container["env"] = wanted.entries.into();
    container["volumeMounts"] = mounts.into();
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container["securityContext"] = security::wanted(pod, &Value::Null);
    container
}

/// Applies our settings to a container of our name; additions of others stay.
fn merged(current: &Value, pod: &Pod<'_>, config: &Config, wanted: Wanted, mounts: &[Value]) -> Value {
    let mut container = current.clone();
    if let Some(members) = container.as_object_mut() {
        members.retain(|name, _| !FORBIDDEN.contains(&name.as_str()));
    }
    container["image"] = json!(config.image);
    container["terminationMessagePolicy"] = json!(MESSAGE_POLICY);
    if !matches!(text(current, "terminationMessagePath"), "" | TERMINATION_LOG) {
        container["terminationMessagePath"] = json!(TERMINATION_LOG);
    }
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    if !has_resources(current) {
        container["resources"] = config.resources.clone();
    }
    container["env"] = env(current, wanted);
    container["volumeMounts"] = volumes::merged(&current["volumeMounts"], mounts);
    container["securityContext"] = security::wanted(pod, &current["securityContext"]);
    container
}

fn env(current: &Value, Wanted { entries, absent }: Wanted) -> Value {
    let mut env = Env::of(current);
    let name = |entry: &Value| text(entry, "name").to_owned();
    let known: Vec<String> = entries.iter().map(name).collect();
    env.clear(|name| {
        absent.contains(&name) || (variables::is_own(name) && !known.iter().any(|known| known == name))
    });
    for same_name in entries.chunk_by(|one, next| one["name"] == next["name"]) {
        env.set(text(&same_name[0], "name"), same_name.iter().cloned());
    }
    env.into()
}

/// Reports whether resources are set already. These stay: ours beside another's limits could make the pod invalid.
fn has_resources(container: &Value) -> bool {
    let resources = &container["resources"];
    ["requests", "limits"].iter().any(|kind| resources[kind].as_object().is_some_and(|set| !set.is_empty()))
}
