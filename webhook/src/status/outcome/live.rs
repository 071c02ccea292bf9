//! Deliveries into the running session: the ephemeral containers that the controller added.
//!
//! An ephemeral container can't be changed, removed or restarted, so these are the history of the pod.

use workflow_contract::Stamp;
use workflow_contract::env::WORKFLOW_STAMP;
use workflow_contract::names::live_container;

use super::container::{end_of, judge_container};
use super::types::LiveAttempt;
use crate::admission::patch::CREDENTIALS_DIR;
use crate::status::pod::{EphemeralContainer, SessionPod};

/// Reads the ephemeral containers with a stamp for this session that names themselves.
pub fn read(pod: &SessionPod, session_uid: &str) -> Vec<LiveAttempt> {
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
