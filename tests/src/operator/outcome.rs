//! What a session's pod says of the session: pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use workflow_contract::names::RUNNER_CONTAINER;

/// What has become of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodOutcome {
    /// It is on its way out; what it says no longer counts.
    Terminating,
    /// Its runner has not started.
    Starting,
    /// Its runner runs.
    Running,
    /// Its runner ended with 0.
    Completed,
    /// It failed, with the platform's words for it.
    Failed(String),
}

/// Judges a pod. A failed init container counts once the whole pod has failed, as the kubelet makes it so a moment
/// later.
pub(crate) fn of(pod: &Pod) -> PodOutcome {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodOutcome::Terminating;
    }
    let status = pod.status.clone().unwrap_or_default();
    if status.phase.as_deref() == Some("Failed") {
        return PodOutcome::Failed(failure(&status));
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let runner = containers.iter().find(|container| container.name == RUNNER_CONTAINER);
    match runner.and_then(|runner| runner.state.as_ref()) {
        Some(ContainerState { running: Some(_), .. }) => PodOutcome::Running,
        Some(ContainerState { terminated: Some(ended), .. }) if ended.exit_code == 0 => PodOutcome::Completed,
        Some(ContainerState { terminated: Some(ended), .. }) => {
            PodOutcome::Failed(container_failure("Container", RUNNER_CONTAINER, ended))
        }
        _ if status.phase.as_deref() == Some("Succeeded") => PodOutcome::Completed,
        _ => PodOutcome::Starting,
    }
}

/// The message that the platform puts on the session: the first init container that failed, else the first container,
/// else what the pod itself says (evictions).
fn failure(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let ended = |kind: &'static str| {
        move |container: &ContainerStatus| {
            let ended = container.state.as_ref()?.terminated.as_ref()?;
            (ended.exit_code != 0).then(|| container_failure(kind, &container.name, ended))
        }
    };
    init.iter()
        .find_map(ended("Init container"))
        .or_else(|| containers.iter().find_map(ended("Container")))
        .unwrap_or_else(|| {
            let reason = status.reason.as_deref().unwrap_or("unknown reason");
            format!("Pod failed: {reason}: {}", status.message.as_deref().unwrap_or_default())
        })
}

fn container_failure(kind: &str, name: &str, ended: &ContainerStateTerminated) -> String {
    let message = ended.message.as_deref().unwrap_or_default();
    let reason = ended.reason.as_deref().unwrap_or_default();
    format!("{kind} {name} failed (exit {}): {message} - {reason}", ended.exit_code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap()
    }

    fn terminated(name: &str, exit_code: i32) -> Value {
        json!({
            "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": exit_code, "reason": "Error", "message": "no such branch\n{}" } },
        })
    }

    fn running(name: &str) -> Value {
        json!({
            "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} },
        })
    }

    #[test]
    fn a_failed_init_container_is_named_with_its_whole_message() {
        let status = json!({
            "phase": "Failed",
            "initContainerStatuses": [terminated("init-hydrate", 0), terminated("init-workflow", 22)],
        });
        assert_eq!(
            of(&pod(&status)),
            PodOutcome::Failed(
                "Init container init-workflow failed (exit 22): no such branch\n{} - Error".to_owned()
            )
        );
    }

    #[test]
    fn an_init_container_that_failed_counts_once_the_pod_has() {
        let status =
            json!({ "phase": "Pending", "initContainerStatuses": [terminated("init-workflow", 22)] });
        assert_eq!(of(&pod(&status)), PodOutcome::Starting);
    }

    #[test]
    fn the_runner_decides_whatever_the_other_container_does() {
        let with_runner = |runner: Value| json!({ "phase": "Running", "containerStatuses": [running("state-sync"), runner] });
        assert_eq!(of(&pod(&with_runner(running(RUNNER_CONTAINER)))), PodOutcome::Running);
        assert_eq!(of(&pod(&with_runner(terminated(RUNNER_CONTAINER, 0)))), PodOutcome::Completed);
        assert!(matches!(of(&pod(&with_runner(terminated(RUNNER_CONTAINER, 1)))), PodOutcome::Failed(_)));
    }

    #[test]
    fn an_evicted_pod_says_why() {
        let status = json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" });
        assert_eq!(of(&pod(&status)), PodOutcome::Failed("Pod failed: Evicted: low on memory".to_owned()));
    }

    #[test]
    fn a_pod_that_is_being_deleted_says_nothing() {
        let mut pod = pod(&json!({ "phase": "Failed" }));
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            "2026-01-01T00:00:00Z".parse().unwrap(),
        ));
        assert_eq!(of(&pod), PodOutcome::Terminating);
    }

    #[test]
    fn a_new_pod_is_starting() {
        assert_eq!(of(&pod(&json!({}))), PodOutcome::Starting);
    }
}
