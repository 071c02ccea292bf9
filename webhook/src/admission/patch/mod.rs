//! Pod + plan + config -> RFC 6902 operations. Pure.
//!
//! The other files build the wanted parts of the pod from its present ones; `reconcile` compares both and emits
//! operations. The pod is read as JSON, never through typed structs, which would drop unknown fields. A pod that is
//! already as wanted results in no operation.
//!
//! | file | builds |
//! |---|---|
//! | `annotations` | the annotation that records the injected source |
//! | `volumes` | volumes, mounts and pull secrets |
//! | `runner` | `env` of the runner and of the other init containers |
//! | `container` | the init container |
//! | `live` | the ephemeral container, for a pod that runs already |
//! | `variables` | the init container's variables |
//! | `security` | the init container's security context |

mod annotations;
mod container;
mod env;
mod literal;
mod live;
mod pod;
mod reconcile;
mod runner;
mod security;
mod variables;
mod volumes;

use json_patch::Patch;
use json_patch::jsonptr::PointerBuf;
use serde_json::{Value, json};
use workflow_contract::names::STAMP_ANNOTATION;

use super::plan::Plan;
use crate::config::Config;
pub use live::live_container;
use pod::Pod;
use reconcile::Operations;
pub use volumes::CREDENTIALS_DIR;

/// Returns the operations that add the delivery of its workflow to a pod. None if the pod is already as
/// wanted, or if it has no runner.
#[must_use]
pub fn patch(pod: &Value, plan: &Plan<'_>, config: &Config) -> Patch {
    let Some(pod) = Pod::new(pod) else { return Patch::default() };
    let mounts = volumes::mounts(&pod, config);
    let runner = ["spec", "containers", &pod.runner_index.to_string()];
    let runner = PointerBuf::from_tokens(runner);
    let mut operations = Operations::default();
    let (annotations, stamp) = (&pod.metadata["annotations"], annotations::wanted(plan, config));
    let path = PointerBuf::from_tokens(["metadata", "annotations"]);
    if annotations.is_object() {
        let path = path.with_trailing_token(STAMP_ANNOTATION);
        operations.reconcile(&path, &annotations[STAMP_ANNOTATION], stamp);
    } else {
        operations.reconcile(&path, annotations, json!({STAMP_ANNOTATION: stamp}));
    }
    let spec = |member: &str| PointerBuf::from_tokens(["spec", member]);
    for (member, wanted) in
        [("volumes", mounts.volumes), ("imagePullSecrets", volumes::pull_secrets(&pod, config))]
    {
        operations.list(&spec(member), &pod.spec[member], wanted);
    }
    let path = spec("initContainers");
    for (index, container) in pod.other_init_containers().filter(|(_, other)| other["env"].is_array()) {
        let path = path.with_trailing_token(index).with_trailing_token("env");
        operations.list(&path, &container["env"], runner::without_workflow(container));
    }
    let wanted = container::init_containers(&pod, plan, config, mounts.init);
    operations.list(&path, &pod.spec["initContainers"], wanted);
    for (member, wanted) in [("env", runner::env(&pod, plan)), ("volumeMounts", mounts.runner)] {
        operations.list(&runner.with_trailing_token(member), &pod.runner[member], wanted);
    }
    operations.into_patch()
}
