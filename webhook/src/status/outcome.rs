//! What a pod tells about its init container.
//!
//! Only this file knows how the kubelet words things. It knows nothing of sessions: whether the
//! pod's word counts, and what it means for a spec that has changed, is decided elsewhere.
//! What it knows of kubelet and API server (reasons, codes, conditions) was read in Kubernetes
//! 1.34 to 1.37.

use jiff::Timestamp;
use kube::ResourceExt;
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    INIT_CONTAINER, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, STAMP_ANNOTATION, runner_pod,
};
use workflow_contract::{Exit, Source, Stamp, Termination, text};

use super::pod::{ContainerStatus, PodStatus, SessionPod, Terminated};

/// Longest message that is taken from a message which init-fetcher did not write, in bytes.
const MAX_LOG_MESSAGE: usize = 1000;

/// Waiting reasons that mean "no image"; the kubelet alternates between them.
pub const NO_IMAGE: [&str; 7] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// Waiting reasons that mean "no container".
const NO_CONTAINER: [&str; 4] =
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"];

/// How the init container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod has no init container that was injected for its session.
    NotInjected,
    /// Waiting or running.
    Fetching,
    /// Exit 0, and message and image are those of the stamp.
    Delivered {
        /// 40 hexadecimal digits.
        commit: String,
    },
    /// It did not deliver; some of these can pass.
    Undelivered(Failure),
}

/// Why nothing was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An exit code of init-fetcher's.
    Exit {
        /// Which.
        exit: Exit,
        /// Line 1 of its termination message, possibly empty.
        message: String,
    },
    /// Any other exit code.
    OtherExit {
        /// The code.
        code: i32,
        /// What it left as a message, possibly empty.
        message: String,
    },
    /// Exit 0, but what was delivered can't be vouched for.
    Unconfirmed {
        /// What does not fit.
        why: &'static str,
    },
    /// Killed for want of memory.
    OutOfMemory,
    /// Its image can't be pulled.
    NoImage {
        /// As the pod's spec names it.
        image: String,
    },
    /// It could not be created or started.
    NoContainer {
        /// The runtime's words.
        why: String,
    },
    /// The pod ended before it could.
    Interrupted {
        /// What befell the pod.
        why: String,
    },
}

/// Whether a pod is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Exists,
    /// It was deleted, and the state it had then was seen.
    Deleted,
    /// It is gone, and its last state may have been missed.
    Vanished,
}

/// All that is kept of a session pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Shared with the session.
    pub namespace: String,
    /// The session that controls the pod.
    pub session: String,
    /// That session's uid.
    pub session_uid: String,
    /// The pod's own uid.
    pub uid: String,
    /// When the API server took it.
    pub created: Timestamp,
    /// What was injected.
    pub stamp: Option<Stamp>,
    /// How often the runner has the variable by which the operator passes it the workflow's URL.
    pub workflow_variables: usize,
    /// How the init container stands.
    pub outcome: Outcome,
    /// When the init container ended.
    pub ended: Option<Timestamp>,
    /// Whether the pod is still there.
    pub presence: Presence,
}

/// What there is to know of a pod; nothing where it speaks for no session: only the pod
/// `NAME-runner` that the session NAME controls does.
#[must_use]
pub fn read(pod: &SessionPod) -> Option<PodFacts> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| {
        owner.controller == Some(true)
            && owner.kind == SESSION_KIND
            && owner.api_version.split('/').next() == Some(SESSION_GROUP)
    })?;
    let name = pod.metadata.name.as_deref().filter(|name| *name == runner_pod(&owner.name));
    name?;
    let stamp = pod.annotations().get(STAMP_ANNOTATION).and_then(|value| Stamp::from_annotation(value).ok());
    let stamp = stamp.filter(|stamp| stamp.session_uid == owner.uid);
    let ended = status_of(&pod.status, INIT_CONTAINER)
        .and_then(|status| end_of(status, &pod.status))
        .and_then(|end| end.finished_at.as_ref())
        .map(|time| time.0);
    Some(PodFacts {
        namespace: pod.namespace()?,
        session: owner.name.clone(),
        session_uid: owner.uid.clone(),
        uid: pod.uid()?,
        created: pod.creation_timestamp()?.0,
        outcome: stamp.as_ref().map_or(Outcome::NotInjected, |stamp| judge(pod, stamp)),
        stamp,
        workflow_variables: workflow_variables(pod),
        ended,
        presence: Presence::Exists,
    })
}

/// The operator's note of how an init container of ours failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyNote {
    /// How it failed.
    pub failure: Failure,
    /// What it was to deliver, where its message told.
    pub source: Option<Source>,
}

/// What the operator wrote down about a failed init container of ours before it deleted the pod:
/// `Init container init-workflow failed (exit N): MESSAGE - REASON` (platform.md 7).
#[must_use]
pub fn read_ready_message(message: &str) -> Option<ReadyNote> {
    let rest = message.strip_prefix("Init container ")?.strip_prefix(INIT_CONTAINER)?;
    let (code, rest) = rest.strip_prefix(" failed (exit ")?.split_once(')')?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let one_word = |(_, reason): &(&str, &str)| !reason.contains(char::is_whitespace);
    let (message, reason) = rest.rsplit_once(" - ").filter(one_word).unwrap_or((rest, ""));
    let end = Terminated {
        exit_code: code.parse().ok().filter(|code| *code != 0)?,
        reason: reason.to_owned(),
        message: message.trim_start().to_owned(),
        finished_at: None,
    };
    let source = Termination::parse(&end.message).details.and_then(|details| details.source());
    // The operator deletes a pod only after it has failed; a kill before that came from outside.
    let killed = format!("it was terminated (exit {})", end.exit_code);
    Some(ReadyNote { failure: judge_failure(&end, Some(killed)), source })
}

fn workflow_variables(pod: &SessionPod) -> usize {
    let runner = pod.spec.containers.iter().filter(|container| container.name == RUNNER_CONTAINER);
    let variables = runner.flat_map(|runner| runner.env.iter().flatten());
    variables.filter(|variable| variable.name == ACTIVE_WORKFLOW_GIT_URL).count()
}

fn judge(pod: &SessionPod, stamp: &Stamp) -> Outcome {
    let Some(container) = pod.spec.init_containers.iter().find(|one| one.name == INIT_CONTAINER) else {
        return Outcome::NotInjected;
    };
    let status = status_of(&pod.status, INIT_CONTAINER);
    if let Some(end) = status.and_then(|status| end_of(status, &pod.status)) {
        return if end.exit_code == 0 {
            confirm(&end.message, &container.image, stamp)
        } else {
            Outcome::Undelivered(judge_failure(end, interruption(pod)))
        };
    }
    if pod.status.phase == "Failed" {
        return Outcome::Undelivered(Failure::Interrupted { why: why_failed(pod) });
    }
    if is_lost(&pod.status) {
        return Outcome::Undelivered(Failure::Interrupted { why: "its node is gone".to_owned() });
    }
    let Some(waiting) = status.and_then(|status| status.state.waiting.as_ref()) else {
        return Outcome::Fetching;
    };
    if NO_IMAGE.contains(&waiting.reason.as_str()) {
        Outcome::Undelivered(Failure::NoImage { image: text::sanitize(&container.image) })
    } else if NO_CONTAINER.contains(&waiting.reason.as_str()) {
        // Only this one's message names what is missing and stays the same; the others alternate.
        let detail = if waiting.reason == "CreateContainerConfigError" { &waiting.message } else { "" };
        Outcome::Undelivered(Failure::NoContainer { why: worded(&waiting.reason, detail) })
    } else {
        Outcome::Fetching
    }
}

fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    status.init_container_statuses.iter().find(|status| status.name == name)
}

/// How a container ended, unless it runs again. It does not in a pod that is over, whatever the
/// kubelet last said of it, nor while the kubelet backs off from starting it.
fn end_of<'a>(status: &'a ContainerStatus, pod: &PodStatus) -> Option<&'a Terminated> {
    let over = matches!(pod.phase.as_str(), "Failed" | "Succeeded");
    let backs_off = status.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff");
    let last = status.last_state.terminated.as_ref().filter(|_| over || backs_off);
    status.state.terminated.as_ref().or(last)
}

fn confirm(message: &str, image: &str, stamp: &Stamp) -> Outcome {
    let unconfirmed = |why| Outcome::Undelivered(Failure::Unconfirmed { why });
    let Some(details) = Termination::parse(message).details else {
        return unconfirmed("its message does not tell what was delivered");
    };
    if image != stamp.image {
        return unconfirmed("its image is not the one that was injected");
    }
    if details.reason != Exit::Reconciled || details.source().as_ref() != Some(&stamp.source) {
        return unconfirmed("its message is about something else than what was injected");
    }
    match details.commit {
        Some(commit) => Outcome::Delivered { commit: text::sanitize(&commit) },
        None => unconfirmed("its message names no commit"),
    }
}

/// A non-zero exit, in a pod that something befell or not.
fn judge_failure(end: &Terminated, interruption: Option<String>) -> Failure {
    let (code, reason) = (end.exit_code, end.reason.as_str());
    if reason == "OOMKilled" {
        return Failure::OutOfMemory;
    }
    let message = Termination::parse(&end.message);
    let max = if message.details.is_some() { usize::MAX } else { MAX_LOG_MESSAGE };
    let message = text::cut(&message.message, max);
    if let Some(exit) = Exit::from_code(code) {
        return Failure::Exit { exit, message };
    }
    if code == 128 || matches!(reason, "StartError" | "ContainerCannotRun") {
        let reason = if reason.is_empty() { "StartError" } else { reason };
        return Failure::NoContainer { why: worded(reason, &end.message) };
    }
    // 128 + SIGKILL or SIGTERM: somebody ended it.
    let by_signal = matches!(code, 137 | 143);
    match interruption {
        Some(why) if by_signal => Failure::Interrupted { why },
        _ if reason == "ContainerStatusUnknown" => {
            Failure::Interrupted { why: "its node lost track of it".to_owned() }
        }
        _ => Failure::OtherExit { code, message },
    }
}

/// What ended the pod from outside, if anything did.
fn interruption(pod: &SessionPod) -> Option<String> {
    let status = &pod.status;
    let disrupted = status.conditions.iter().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if !status.reason.is_empty() {
        Some(format!("it was ended ({})", worded(&status.reason, &status.message)))
    } else if let Some(disrupted) = disrupted {
        Some(format!("it was ended ({})", worded(&disrupted.reason, &disrupted.message)))
    } else if pod.metadata.deletion_timestamp.is_some() {
        Some("it was deleted".to_owned())
    } else {
        None
    }
}

/// Why a pod failed whose init container of ours never ended.
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

/// Whether nobody is there to end the pod's containers: the kubelet does not answer any more.
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

#[cfg(test)]
mod tests;
