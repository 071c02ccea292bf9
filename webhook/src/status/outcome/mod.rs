//! Pod in, outcome of its init container out: pure, and the only place that interprets what the kubelet
//! reports. Reasons, codes and conditions are those of Kubernetes 1.34 to 1.37.

mod container;
mod live;
mod types;

use std::time::Duration;

use kube::ResourceExt;
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    INIT_CONTAINER, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, STAMP_ANNOTATION, runner_pod,
};
use workflow_contract::{Source, Stamp, Termination};

use super::pod::{ContainerStatus, PodStatus, SessionPod, Terminated};
pub use container::NO_IMAGE;
use container::{end_of, judge_container, judge_failure, runner_state};
pub use types::{ContainerFailure, DeliveryAttempt, LiveAttempt, Outcome, PodFacts, Presence, RunnerState};

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
        runner: runner_state(&pod.status),
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
    pub failure: ContainerFailure,
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

fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    status.init_container_statuses.iter().find(|status| status.name == name)
}

#[cfg(test)]
mod tests;
