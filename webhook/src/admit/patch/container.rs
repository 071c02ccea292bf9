//! The init container itself: a new one, or one of its name brought to ours; last in either case.
//!
//! Last, because `init-hydrate` restores the workspace over whatever was there before it.

use serde_json::Value;
use workflow_contract::env::default::TERMINATION_LOG;
use workflow_contract::names::INIT_CONTAINER;

use super::environment::{Entry, Environment};
use super::ops::{LAST, Ops, Path};
use super::pod::Pod;
use super::security::{self, Context};
use super::variables::{self, Wanted};
use super::volumes::{self, Mount};
use crate::admit::plan::Plan;
use crate::config::Config;
use json_index::{Json, ToJson, object};

/// Where a container's error is to be found when it wrote no message.
const POLICY: &str = "FallbackToLogsOnError";

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

/// A new container, in the API server's own order.
struct Container<'v> {
    image: &'v str,
    env: &'v [Entry<'v>],
    resources: &'v Value,
    mounts: &'v [Mount<'v>],
    image_pull_policy: Option<&'v str>,
    security_context: Context,
}

impl ToJson for Container<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| {
            members.add("name", INIT_CONTAINER);
            members.add("image", self.image);
            members.add("env", self.env);
            members.add("resources", self.resources);
            members.add("volumeMounts", self.mounts);
            members.add("terminationMessagePolicy", POLICY);
            if let Some(policy) = self.image_pull_policy {
                members.add("imagePullPolicy", policy);
            }
            members.add("securityContext", &self.security_context);
        });
    }
}

/// Writes the init container.
pub fn write(ops: &mut Ops, pod: &Pod<'_>, plan: &Plan<'_>, config: &Config, mounts: &[Mount<'_>]) {
    let wanted = variables::wanted(pod, plan, config);
    if let Some(index) = pod.ours_index {
        return bring(ops, pod, index, config, &wanted, mounts);
    }
    let container = Container {
        image: &config.image,
        env: &wanted.entries,
        resources: &config.resources,
        mounts,
        image_pull_policy: config.image_pull_policy.as_deref(),
        security_context: security::wanted(pod),
    };
    let exists = pod.spec.get("initContainers").is_array();
    ops.append(Path::INIT_CONTAINERS, exists, &[container]);
}

fn bring(
    ops: &mut Ops,
    pod: &Pod<'_>,
    index: usize,
    config: &Config,
    wanted: &Wanted<'_>,
    mounts: &[Mount<'_>],
) {
    let container = &pod.init_containers[index];
    let at = Path::INIT_CONTAINERS.below(index);
    for member in FORBIDDEN {
        if !container.json.get(member).is_null() {
            ops.remove(at.below(member));
        }
    }
    let texts = [
        ("image", Some(config.image.as_str())),
        ("terminationMessagePath", Some(TERMINATION_LOG)),
        ("terminationMessagePolicy", Some(POLICY)),
        ("imagePullPolicy", config.image_pull_policy.as_deref()),
    ];
    for (member, wanted) in texts.into_iter().filter_map(|(member, wanted)| Some((member, wanted?))) {
        let current = container.json.text(member);
        // The API server's default, written by it between two calls.
        let by_default = member == "terminationMessagePath" && current.is_empty();
        if current != wanted && !by_default {
            ops.add(at.below(member), wanted);
        }
    }
    if !has_resources(container.json) {
        ops.add(at.below("resources"), &config.resources);
    }
    let mut environment = Environment::of(&container.env, &at);
    let known =
        |name: &str| wanted.entries.iter().any(|entry| entry.name == name) || wanted.absent.contains(&name);
    environment.clear(|name| variables::is_own(name) && !known(name));
    for entries in wanted.entries.chunk_by(|one, next| one.name == next.name) {
        environment.set(ops, entries[0].name, entries);
    }
    for name in &wanted.absent {
        environment.set(ops, name, &[]);
    }
    environment.finish(ops);
    volumes::bring(ops, container.json, at, mounts);
    security::bring(ops, container.json, at, &security::wanted(pod));
    if index + 1 < pod.init_containers.len() {
        ops.relocate(at, Path::INIT_CONTAINERS.below(LAST));
    }
}

/// Whether anybody has set resources already: these stay, because ours beside somebody's limits
/// could make the pod invalid.
fn has_resources(container: Json<'_>) -> bool {
    let resources = container.get("resources");
    ["requests", "limits"].into_iter().any(|kind| {
        let set = resources.get(kind);
        set.is_object() && !set.is_empty()
    })
}
