//! Reads a session's outcome from its pod: pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use workflow_contract::names::RUNNER_CONTAINER;

/// State of a session's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodOutcome {
    /// It is being deleted, and its runner has ended or never ran.
    Terminating,
    /// Its runner has not started.
    Starting,
    /// Its runner runs.
    Running,
    /// Its runner ended with 0.
    Completed,
    /// It failed, with the platform's message.
    Failed(String),
}

/// Reads the outcome. A failed init container counts once the whole pod has failed, which the kubelet reports a moment
/// later. A failed init container and a running runner count even while the pod is being deleted, so a session that is
/// created again takes the old pod for its own.
pub(crate) fn of(pod: &Pod) -> PodOutcome {
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.clone().unwrap_or_default();
    if status.phase.as_deref() == Some("Failed") && (!deleting || init_failure(&status).is_some()) {
        return PodOutcome::Failed(failure(&status));
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let runner = containers.iter().find(|container| container.name == RUNNER_CONTAINER);
    match runner.and_then(|runner| runner.state.as_ref()) {
        Some(ContainerState { running: Some(_), .. }) => PodOutcome::Running,
        _ if deleting => PodOutcome::Terminating,
        Some(ContainerState { terminated: Some(ended), .. }) if ended.exit_code == 0 => PodOutcome::Completed,
        Some(ContainerState { terminated: Some(ended), .. }) => {
            PodOutcome::Failed(container_failure("Container", RUNNER_CONTAINER, ended))
        }
        _ if status.phase.as_deref() == Some("Succeeded") => PodOutcome::Completed,
        _ => PodOutcome::Starting,
    }
}

/// The message that the platform puts on the session: the first init container that failed, else the first container,
/// else the pod's own (evictions).
fn failure(status: &PodStatus) -> String {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    init_failure(status).or_else(|| first_failure("Container", containers)).unwrap_or_else(|| {
        let reason = status.reason.as_deref().unwrap_or("unknown reason");
        format!("Pod failed: {reason}: {}", status.message.as_deref().unwrap_or_default())
    })
}

fn init_failure(status: &PodStatus) -> Option<String> {
    first_failure("Init container", status.init_container_statuses.as_deref().unwrap_or_default())
}

fn first_failure(kind: &str, containers: &[ContainerStatus]) -> Option<String> {
    containers.iter().find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| container_failure(kind, &container.name, ended))
    })
}

fn container_failure(kind: &str, name: &str, ended: &ContainerStateTerminated) -> String {
    let message = ended.message.as_deref().unwrap_or_default();
    let reason = ended.reason.as_deref().unwrap_or_default();
    format!("{kind} {name} failed (exit {}): {message} - {reason}", ended.exit_code)
}
