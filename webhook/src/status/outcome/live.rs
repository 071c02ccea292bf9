//! Deliveries into the running session: the ephemeral containers that the controller added.
//!
//! An ephemeral container can't be changed, removed or restarted, so these are the history of the pod.

use jiff::Timestamp;
use workflow_contract::Stamp;
use workflow_contract::env::WORKFLOW_STAMP;
use workflow_contract::names::{RUNNER_CONTAINER, live_container};

use super::{Attempt, Outcome, end_of, judge_container};
use crate::admission::patch::CREDENTIALS_DIR;
use crate::status::pod::{EphemeralContainer, PodStatus, SessionPod};

/// State of the runner's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunnerState {
    /// Not started yet.
    #[default]
    Waiting,
    Running,
    /// Over; session pods are never restarted.
    Ended,
}

/// A delivery by an ephemeral container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAttempt {
    pub stamp: Stamp,
    pub outcome: Outcome,
    /// End of the container, by the node's clock. Without one the container may still publish.
    pub ended: Option<Timestamp>,
    /// Whether the pod has the volume of the Secret with git credentials.
    pub has_credentials: bool,
}

impl LiveAttempt {
    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt { stamp: &self.stamp, outcome: &self.outcome, ended: self.ended, live: Some(self) }
    }

    /// Name of the container.
    #[must_use]
    pub fn container(&self) -> String {
        live_container(self.stamp.generation)
    }

    /// Keeps the outcome that the same end had when it was first observed.
    pub fn keep_end(&mut self, known: &[Self]) {
        let same = |one: &&Self| one.stamp == self.stamp && one.ended.is_some() && one.ended == self.ended;
        if let Some(known) = known.iter().find(same) {
            self.outcome = known.outcome.clone();
        }
    }
}

/// Reads the ephemeral containers with a stamp for this session that names themselves.
pub(super) fn read(pod: &SessionPod, session_uid: &str) -> Vec<LiveAttempt> {
    let containers = pod.spec.ephemeral_containers.iter();
    let mut live: Vec<_> = containers.filter_map(|container| read_one(pod, container, session_uid)).collect();
    live.sort_by_key(|one| one.stamp.generation);
    live
}

fn read_one(pod: &SessionPod, container: &EphemeralContainer, session_uid: &str) -> Option<LiveAttempt> {
    let variable = container.env.iter().rfind(|variable| variable.name == WORKFLOW_STAMP)?;
    // As the kubelet reads it: `$$` is `$`.
    let stamp = Stamp::from_annotation(&variable.value.replace("$$", "$")).ok()?;
    if stamp.session_uid != session_uid || live_container(stamp.generation) != container.name {
        return None;
    }
    let statuses = &pod.status.ephemeral_container_statuses;
    let status = statuses.iter().find(|status| status.name == container.name);
    let end = status.and_then(|status| end_of(status, &pod.status));
    Some(LiveAttempt {
        outcome: judge_container(pod, &container.image, status, &stamp),
        stamp,
        ended: end.and_then(|end| end.finished_at.as_ref()).map(|time| time.0),
        has_credentials: container.volume_mounts.iter().any(|mount| mount.mount_path == CREDENTIALS_DIR),
    })
}

pub(super) fn runner_state(status: &PodStatus) -> RunnerState {
    let runner = status.container_statuses.iter().find(|one| one.name == RUNNER_CONTAINER);
    match runner.map(|runner| &runner.state) {
        Some(state) if state.running.is_some() => RunnerState::Running,
        Some(state) if state.terminated.is_some() => RunnerState::Ended,
        _ => RunnerState::Waiting,
    }
}
