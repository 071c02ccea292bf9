//! The ephemeral container that delivers into a running pod: the init container of that pod as far as an ephemeral
//! one can be it.
//!
//! It has no resources, can't mount by `subPath`, and can't add volumes to the pod.

use serde_json::{Value, json};
use workflow_contract::env as names;
use workflow_contract::names::live_container as name;

use super::container::MESSAGE_POLICY;
use super::env::{Env, variable};
use super::literal::doubled;
use super::pod::Pod;
use super::volumes::{self, CA_BUNDLE};
use super::{annotations, security, variables};
use crate::admission::plan::Plan;
use crate::config::Config;

/// Time for which the directory is observed after it was published: the platform POSTs the same change to the runner, whose
/// clone may end at that time.
const SETTLE: &str = "2s";

/// Builds the container. None if the pod has no runner, or no volume that both could share.
#[must_use]
pub fn live_container(pod: &Value, plan: &Plan<'_>, config: &Config) -> Option<Value> {
    let pod = Pod::new(pod)?;
    let volumes = volumes::live(&pod, config)?;
    let stamp = annotations::stamp(plan, config);
    let wanted = json!({"env": Value::from(variables::wanted(&pod, plan, config).entries)});
    let mut env = Env::of(&wanted);
    let annotation = stamp.to_annotation().unwrap_or_default();
    let own = [
        (names::WORKFLOW_STAMP, annotation.as_str()),
        (names::WORKFLOW_SETTLE, SETTLE),
        (names::WORKFLOW_ROOT, &volumes.root),
    ];
    for (name, value) in own {
        env.set(name, [variable(name, &doubled(value))]);
    }
    if !volumes.has_credentials {
        env.clear(|name| name == names::WORKFLOW_CREDENTIALS_DIR);
    }
    if let Some(file) = &volumes.ca_file {
        // Another file than the runner's bundle stays.
        let is_free = env.value(names::SSL_CERT_FILE).is_none_or(|file| file == CA_BUNDLE);
        if is_free {
            env.set(names::SSL_CERT_FILE, [variable(names::SSL_CERT_FILE, &doubled(file))]);
        }
    }
    let mut container = json!({
        "name": name(stamp.generation),
        "image": config.image,
        "env": Value::from(env),
        "volumeMounts": volumes.mounts,
        "terminationMessagePolicy": MESSAGE_POLICY,
        "securityContext": security::wanted(&pod, &Value::Null),
    });
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    Some(container)
}
