//! State of one container in, outcome of its delivery out.

use workflow_contract::names::RUNNER_CONTAINER;
use workflow_contract::{Exit, Stamp, Termination, text};

use super::types::{ContainerFailure, Outcome, RunnerState};
use crate::status::pod::{ContainerStatus, PodStatus, SessionPod, Terminated};

/// Limit in bytes on messages that init-fetcher did not write, such as the end of a log.
pub const MAX_LOG_MESSAGE: usize = 1000;

/// Waiting reasons of a container whose image can't be pulled; the kubelet alternates between them.
pub const NO_IMAGE: [&str; 7] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// Waiting reasons of a container that can't be created or started.
const NO_CONTAINER: [&str; 4] =
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"];

/// Interprets the state of a container with this image that delivers what the stamp says.
pub fn judge_container(
    pod: &SessionPod,
    image: &str,
    status: Option<&ContainerStatus>,
    stamp: &Stamp,
) -> Outcome {
    if let Some(end) = status.and_then(|status| end_of(status, &pod.status)) {
        return if end.exit_code == 0 {
            confirm(&end.message, image, stamp)
        } else {
            Outcome::Undelivered(judge_failure(end, interruption(pod)))
        };
    }
    match pod.status.phase.as_str() {
        "Failed" => return Outcome::Undelivered(ContainerFailure::Interrupted { why: why_failed(pod) }),
        "Succeeded" => {
            return Outcome::Undelivered(ContainerFailure::Interrupted { why: "it ended".to_owned() });
        }
        _ => {}
    }
    if is_lost(&pod.status) {
        return Outcome::Undelivered(ContainerFailure::Interrupted { why: "its node is gone".to_owned() });
    }
    let Some(waiting) = status.and_then(|status| status.state.waiting.as_ref()) else {
        return Outcome::Fetching;
    };
    if NO_IMAGE.contains(&waiting.reason.as_str()) {
        Outcome::Undelivered(ContainerFailure::NoImage { image: text::sanitize(image) })
    } else if NO_CONTAINER.contains(&waiting.reason.as_str()) {
        // Only this message names what is missing and stays the same; the others alternate.
        let detail = if waiting.reason == "CreateContainerConfigError" { &waiting.message } else { "" };
        Outcome::Undelivered(ContainerFailure::NoContainer { why: worded(&waiting.reason, detail) })
    } else {
        Outcome::Fetching
    }
}

/// The end of a container, unless it runs again. In a pod that is over it does not, whatever state the
/// kubelet reported last, nor while the kubelet backs off from starting it.
pub fn end_of<'a>(status: &'a ContainerStatus, pod: &PodStatus) -> Option<&'a Terminated> {
    let over = matches!(pod.phase.as_str(), "Failed" | "Succeeded");
    let backs_off = status.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff");
    let last = status.last_state.terminated.as_ref().filter(|_| over || backs_off);
    status.state.terminated.as_ref().or(last)
}

fn confirm(message: &str, image: &str, stamp: &Stamp) -> Outcome {
    let unconfirmed = |why| Outcome::Undelivered(ContainerFailure::Unconfirmed { why });
    let Some(details) = Termination::parse(message).details else {
        return unconfirmed("its message does not name what was delivered");
    };
    if image != stamp.image {
        return unconfirmed("its image is not the one that was injected");
    }
    if details.reason != Exit::Reconciled || details.source().as_ref() != Some(&stamp.source) {
        return unconfirmed("its message is about something else than what was injected");
    }
    match details.commit {
        Some(commit) => Outcome::Delivered {
            commit: text::sanitize(&commit),
            signer: details.signer.as_deref().map(text::one_line),
        },
        None => unconfirmed("its message names no commit"),
    }
}

/// Interprets a non-zero exit; `interruption` is the reason for which the pod was ended from outside.
pub fn judge_failure(end: &Terminated, interruption: Option<String>) -> ContainerFailure {
    let (code, reason) = (end.exit_code, end.reason.as_str());
    if reason == "OOMKilled" {
        return ContainerFailure::OutOfMemory;
    }
    let message = Termination::parse(&end.message);
    let max = if message.details.is_some() { usize::MAX } else { MAX_LOG_MESSAGE };
    let message = text::cut(&message.message, max);
    if let Some(exit) = Exit::from_code(code) {
        return ContainerFailure::Exit { exit, message };
    }
    if code == 128 || matches!(reason, "StartError" | "ContainerCannotRun") {
        let reason = if reason.is_empty() { "StartError" } else { reason };
        return ContainerFailure::NoContainer { why: worded(reason, &end.message) };
    }
    // 128 + SIGKILL or SIGTERM.
    let by_signal = matches!(code, 137 | 143);
    match interruption {
        Some(why) if by_signal => ContainerFailure::Interrupted { why },
        _ if reason == "ContainerStatusUnknown" => {
            ContainerFailure::Interrupted { why: "its node lost track of it".to_owned() }
        }
        _ => ContainerFailure::OtherExit { code, message },
    }
}

/// Reason for which the pod was ended from outside.
fn interruption(pod: &SessionPod) -> Option<String> {
    let status = &pod.status;
    let disrupted = status.conditions.iter().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if !status.reason.is_empty() {
        Some(format!("it was ended ({})", worded(&status.reason, &status.message)))
    } else if let Some(disrupted) = disrupted {
        Some(format!("it was ended ({})", worded(&disrupted.reason, &disrupted.message)))
    } else if pod.metadata.deletion_timestamp.is_some() {
        Some("it was deleted".to_owned())
    } else if runner_state(status) == RunnerState::Ended {
        // The kubelet kills ephemeral containers then.
        Some("its runner ended".to_owned())
    } else {
        None
    }
}

/// Reason for the failure of a pod whose init container never ended.
fn why_failed(pod: &SessionPod) -> String {
    let failed = pod.status.init_container_statuses.iter().find_map(|status| {
        let end = end_of(status, &pod.status).filter(|end| end.exit_code != 0)?;
        Some(format!(
            "its init container {} failed before (exit {})",
            text::sanitize(&status.name),
            end.exit_code
        ))
    });
    failed.or_else(|| interruption(pod)).unwrap_or_else(|| "it failed".to_owned())
}

/// Reports whether the pod's node is gone, so that no kubelet will report the end of its containers.
fn is_lost(status: &PodStatus) -> bool {
    status.reason == "NodeLost"
        || status.conditions.iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && matches!(condition.reason.as_str(), "DeletionByPodGC" | "DeletionByTaintManager")
        })
}

fn worded(reason: &str, message: &str) -> String {
    let message = text::cut(&text::one_line(message.trim()), MAX_LOG_MESSAGE);
    match (reason, message.as_str()) {
        (_, "") => text::sanitize(reason),
        _ => format!("{}: {message}", text::sanitize(reason)),
    }
}

pub fn runner_state(status: &PodStatus) -> RunnerState {
    let runner = status.container_statuses.iter().find(|one| one.name == RUNNER_CONTAINER);
    match runner.map(|runner| &runner.state) {
        Some(state) if state.running.is_some() => RunnerState::Running,
        Some(state) if state.terminated.is_some() => RunnerState::Ended,
        _ => RunnerState::Waiting,
    }
}
