//! Pod in, outcome of its init container out: pure, and the only place that interprets what the kubelet
//! reports. Reasons, codes and conditions are those of Kubernetes 1.34 to 1.37.

mod live;

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    INIT_CONTAINER, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, STAMP_ANNOTATION, runner_pod,
};
use workflow_contract::{Exit, Source, Stamp, Termination, text};

use super::pod::{ContainerStatus, PodStatus, SessionPod, Terminated};
use crate::session::AgenticSession;
pub use live::{LiveAttempt, RunnerState};

/// Limit in bytes on messages that init-fetcher did not write, such as the end of a log.
const MAX_LOG_MESSAGE: usize = 1000;

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

/// State of the init container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod has no init container that was injected for its session.
    NotInjected,
    /// Waiting or running.
    Fetching,
    /// Exit 0, and message and image are those of the stamp. `commit` is a full object id; `signer` is there if a
    /// signature was demanded.
    Delivered { commit: String, signer: Option<String> },
    /// Not delivered; some failures can pass.
    Undelivered(Failure),
}

/// The reason for a failed delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An exit code of init-fetcher; `message` is line 1 of its termination message, possibly empty.
    Exit {
        exit: Exit,
        message: String,
    },
    /// Any other exit code; `message` is the termination message or the end of the log.
    OtherExit {
        code: i32,
        message: String,
    },
    /// Exit 0, but the termination message or the image is not the expected one.
    Unconfirmed {
        why: &'static str,
    },
    OutOfMemory,
    /// The image can't be pulled.
    NoImage {
        image: String,
    },
    /// The container could not be created or started.
    NoContainer {
        why: String,
    },
    /// The pod ended before the init container did.
    Interrupted {
        why: String,
    },
}

/// Existence of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Exists,
    /// Deleted; its last state was observed.
    Deleted,
    /// Gone; its last state may have been missed.
    Vanished,
}

/// All that is kept of a session pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Namespace of pod and session.
    pub namespace: String,
    /// Name of the session that controls the pod.
    pub session: String,
    pub session_uid: String,
    /// The pod's own uid.
    pub uid: String,
    /// Creation time, by the API server's clock.
    pub created: Timestamp,
    pub stamp: Option<Stamp>,
    /// Number of the runner's variables with the name by which the operator passes the workflow's URL.
    pub workflow_variables: usize,
    pub outcome: Outcome,
    /// End of the init container, by the node's clock.
    pub ended: Option<Timestamp>,
    /// Deliveries into the running session, in the order of their generations.
    pub live: Vec<LiveAttempt>,
    pub runner: RunnerState,
    /// The pod is being deleted.
    pub is_ending: bool,
    /// Duration of the delivery, by the termination message.
    pub took: Option<Duration>,
    pub presence: Presence,
}

/// A delivery that was tried: by the init container, or by an ephemeral one.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'p> {
    pub stamp: &'p Stamp,
    pub outcome: &'p Outcome,
    /// End of the container, by the node's clock.
    pub ended: Option<Timestamp>,
    /// The ephemeral container; none for the init container.
    pub live: Option<&'p LiveAttempt>,
}

impl Attempt<'_> {
    /// Name of the container.
    #[must_use]
    pub fn container(&self) -> String {
        self.live.map_or_else(|| INIT_CONTAINER.to_owned(), LiveAttempt::container)
    }
}

impl PodFacts {
    #[must_use]
    pub fn session_ref(&self) -> ObjectRef<AgenticSession> {
        ObjectRef::new(&self.session).within(&self.namespace)
    }

    /// All attempts, in the order of their generations.
    fn attempts(&self) -> impl DoubleEndedIterator<Item = Attempt<'_>> {
        let (outcome, ended) = (&self.outcome, self.ended);
        let init = self.stamp.iter().map(move |stamp| Attempt { stamp, outcome, ended, live: None });
        init.chain(self.live.iter().map(LiveAttempt::attempt))
    }

    /// The attempt of the latest generation, which decides about the workflow on disk.
    #[must_use]
    pub fn last_attempt(&self) -> Option<Attempt<'_>> {
        self.attempts().next_back()
    }

    /// The last successful delivery of a generation below this one.
    #[must_use]
    pub fn delivered_before(&self, generation: i64) -> Option<Attempt<'_>> {
        let is_delivered = |one: &Attempt<'_>| matches!(one.outcome, Outcome::Delivered { .. });
        self.attempts().rfind(|one| one.stamp.generation < generation && is_delivered(one))
    }
}

/// Reads a pod; none unless it is the pod `NAME-runner` that the session NAME controls.
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
    let end = status_of(&pod.status, INIT_CONTAINER).and_then(|status| end_of(status, &pod.status));
    let ended = end.and_then(|end| end.finished_at.as_ref()).map(|time| time.0);
    let took = end.and_then(|end| Termination::parse(&end.message).details?.ms).map(Duration::from_millis);
    Some(PodFacts {
        namespace: pod.namespace()?,
        session: owner.name.clone(),
        session_uid: owner.uid.clone(),
        uid: pod.uid()?,
        created: pod.creation_timestamp()?.0,
        outcome: stamp.as_ref().map_or(Outcome::NotInjected, |stamp| judge(pod, stamp)),
        live: live::read(pod, &owner.uid),
        runner: live::runner_state(&pod.status),
        is_ending: pod.metadata.deletion_timestamp.is_some(),
        stamp,
        workflow_variables: workflow_variables(pod),
        ended,
        took,
        presence: Presence::Exists,
    })
}

/// The operator's message about a failed init container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyNote {
    pub failure: Failure,
    /// The source that was tried, where the termination message names it.
    pub source: Option<Source>,
}

/// Parses the message of `Ready=False` that the operator writes before it deletes a failed pod:
/// `Init container init-workflow failed (exit N): MESSAGE - REASON`.
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
    judge_container(pod, &container.image, status_of(&pod.status, INIT_CONTAINER), stamp)
}

/// Interprets the state of a container with this image that delivers what the stamp says.
fn judge_container(
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
        "Failed" => return Outcome::Undelivered(Failure::Interrupted { why: why_failed(pod) }),
        "Succeeded" => return Outcome::Undelivered(Failure::Interrupted { why: "it ended".to_owned() }),
        _ => {}
    }
    if is_lost(&pod.status) {
        return Outcome::Undelivered(Failure::Interrupted { why: "its node is gone".to_owned() });
    }
    let Some(waiting) = status.and_then(|status| status.state.waiting.as_ref()) else {
        return Outcome::Fetching;
    };
    if NO_IMAGE.contains(&waiting.reason.as_str()) {
        Outcome::Undelivered(Failure::NoImage { image: text::sanitize(image) })
    } else if NO_CONTAINER.contains(&waiting.reason.as_str()) {
        // Only this message names what is missing and stays the same; the others alternate.
        let detail = if waiting.reason == "CreateContainerConfigError" { &waiting.message } else { "" };
        Outcome::Undelivered(Failure::NoContainer { why: worded(&waiting.reason, detail) })
    } else {
        Outcome::Fetching
    }
}

fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    status.init_container_statuses.iter().find(|status| status.name == name)
}

/// The end of a container, unless it runs again. In a pod that is over it does not, whatever state the
/// kubelet reported last, nor while the kubelet backs off from starting it.
fn end_of<'a>(status: &'a ContainerStatus, pod: &PodStatus) -> Option<&'a Terminated> {
    let over = matches!(pod.phase.as_str(), "Failed" | "Succeeded");
    let backs_off = status.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff");
    let last = status.last_state.terminated.as_ref().filter(|_| over || backs_off);
    status.state.terminated.as_ref().or(last)
}

fn confirm(message: &str, image: &str, stamp: &Stamp) -> Outcome {
    let unconfirmed = |why| Outcome::Undelivered(Failure::Unconfirmed { why });
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
    // 128 + SIGKILL or SIGTERM.
    let by_signal = matches!(code, 137 | 143);
    match interruption {
        Some(why) if by_signal => Failure::Interrupted { why },
        _ if reason == "ContainerStatusUnknown" => {
            Failure::Interrupted { why: "its node lost track of it".to_owned() }
        }
        _ => Failure::OtherExit { code, message },
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
    } else if live::runner_state(status) == RunnerState::Ended {
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

#[cfg(test)]
mod tests;
