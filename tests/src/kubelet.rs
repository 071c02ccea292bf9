//! Writes the status of pods in place of a kubelet. Pods whose scheduler does not exist are never scheduled, so that their
//! status is what a test writes: without waiting for containers, and on an API server without nodes.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use workflow_contract::names::{HYDRATE_CONTAINER, RUNNER_CONTAINER};

/// Name of a scheduler that does not exist.
pub const NO_SCHEDULER: &str = "none";

/// The status of a pod whose runner runs.
pub fn running() -> Value {
    let started = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    json!({ "phase": "Running", "containerStatuses": [container(RUNNER_CONTAINER, &started)] })
}

/// The status of a pod whose runner ended with this code.
pub fn runner_ended(exit_code: i32) -> Value {
    let ended = json!({ "terminated": { "exitCode": exit_code, "reason": "Error" } });
    json!({ "phase": "Running", "containerStatuses": [container(RUNNER_CONTAINER, &ended)] })
}

/// The status of a pod whose init container failed with this code and termination message.
pub fn init_failed(name: &str, exit_code: i32, message: &str) -> Value {
    let hydrated = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    let failed = json!({ "terminated": { "exitCode": exit_code, "reason": "Error", "message": message } });
    json!({
        "phase": "Failed",
        "initContainerStatuses": [container(HYDRATE_CONTAINER, &hydrated), container(name, &failed)],
    })
}

/// Writes the status of the pod called `name`.
pub async fn report(pods: &Api<Pod>, name: &str, status: &Value) -> kube::Result<Pod> {
    let patch = Patch::Merge(json!({ "status": status }));
    pods.patch_status(name, &PatchParams::default(), &patch).await
}

fn container(name: &str, state: &Value) -> Value {
    json!({
        "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "started": false, "state": state,
    })
}
