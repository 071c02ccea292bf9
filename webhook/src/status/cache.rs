//! The cache of this replica: sessions, the last state of each session's pod, and whether and since
//! when the webhook is registered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{mpsc, watch};

use super::Observe;
use super::outcome::PodFacts;
use super::pods::Pods;
use crate::session::AgenticSession;

/// Pause between a change of a session's spec and the first write of its status. The operator writes its
/// status some 100 ms after the change, and a conflict would make it retry only after 5 to 30 s.
pub const SPEC_CHANGE_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between a change of a session's workflow and its delivery into the running session, if the
/// operator does not report before that its own POST has ended: what that POST writes comes first then.
pub const PLATFORM_PAUSE: Duration = Duration::from_secs(3);

/// Progress of the initial lists, and the registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncState {
    pub(super) pods: bool,
    pub(super) sessions: bool,
    pub(super) registration: bool,
    /// Creation time of the webhook's registration.
    pub registered: Option<Timestamp>,
}

impl SyncState {
    /// Reports whether every list has completed once. Before that, an absent object may still exist.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.pods && self.sessions && self.registration
    }
}

/// Shared by the watches, which fill it, and the writer.
pub struct ClusterCache {
    /// Trimmed copies of all sessions.
    pub sessions: Store<AgenticSession>,
    pub(super) observe: Arc<dyn Observe>,
    pods: Mutex<Pods>,
    /// Time of the last change of a session's spec, by uid.
    spec_changes: Mutex<HashMap<String, Instant>>,
    sync_state: watch::Sender<SyncState>,
    queue: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
}

impl ClusterCache {
    /// An empty cache; `queue` receives each session that has to be reconciled.
    #[must_use]
    pub fn new(
        sessions: Store<AgenticSession>,
        queue: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
        observe: Arc<dyn Observe>,
    ) -> Self {
        Self {
            sessions,
            observe,
            pods: Mutex::default(),
            spec_changes: Mutex::default(),
            sync_state: watch::Sender::new(SyncState::default()),
            queue,
        }
    }

    /// The last known state of the session's pod.
    #[must_use]
    pub fn pod(&self, session_uid: &str) -> Option<PodFacts> {
        self.with_pods(|pods| pods.get(session_uid).cloned())
    }

    /// Number of init containers that are waiting or running.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.with_pods(|pods| pods.fetching())
    }

    #[must_use]
    pub fn sync_state(&self) -> SyncState {
        *self.sync_state.borrow()
    }

    /// Notifies of changes of the sync state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<SyncState> {
        self.sync_state.subscribe()
    }

    /// Remaining time of a pause after a change of the session's spec, as far as this replica observed it.
    pub fn pause_after_spec_change(&self, uid: &str, pause: Duration, now: Instant) -> Option<Duration> {
        let elapsed = self.since_spec_change(uid, now)?;
        pause.checked_sub(elapsed).filter(|left| !left.is_zero())
    }

    /// Time since the last change of the session's spec, if that is recent.
    pub fn since_spec_change(&self, uid: &str, now: Instant) -> Option<Duration> {
        let mut changes = self.spec_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(*changes.get(uid)?);
        if elapsed > PLATFORM_PAUSE {
            changes.remove(uid);
        }
        Some(elapsed)
    }

    /// Drops pods whose session is gone.
    pub fn prune(&self) {
        self.with_pods(|pods| {
            pods.prune(|facts| {
                let session = self.sessions.get(&facts.session_ref());
                session.is_some_and(|session| session.metadata.uid.as_ref() == Some(&facts.session_uid))
            });
        });
    }

    /// Records the time if the session's spec differs from that of the cached one.
    pub(super) fn note_spec_change(&self, session: &AgenticSession, now: Instant) {
        let changed = self.sessions.get(&ObjectRef::from_obj(session)).is_some_and(|cached| {
            cached.metadata.uid == session.metadata.uid
                && cached.metadata.generation != session.metadata.generation
        });
        if let Some(uid) = session.uid().filter(|_| changed) {
            self.spec_changes.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, now);
        }
    }

    pub(super) fn forget_session(&self, uid: &str) {
        self.with_pods(|pods| pods.forget(uid));
        self.spec_changes.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    pub(super) fn with_pods<T>(&self, work: impl FnOnce(&mut Pods) -> T) -> T {
        work(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues a session. Until the caches are synced nothing can be decided; then all sessions that are due are queued.
    pub(super) fn enqueue(&self, session: ObjectRef<AgenticSession>) {
        if self.sync_state().is_complete() {
            // Fails only while the process ends.
            let _ = self.queue.send(session);
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut SyncState)) {
        self.sync_state.send_if_modified(|state| {
            let before = *state;
            change(state);
            *state != before
        });
    }
}
