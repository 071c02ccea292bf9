//! Maintains the Secret while this replica leads, by the rules of [`crate::rotation`].
//!
//! Each reconciliation reads the Secret live and writes over the version that it read. So two replicas that both
//! consider themselves the leader can't undo each other's work: one of the writes conflicts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::rotation::{self, Lifetimes, RotationError, State};
use crate::store::{StoreError, Stored, TlsSecret, Version};
use crate::types::{Bundle, Fault};

/// Longest time between two reconciliations, and longest backoff. It bounds how late a suspended machine or a clock
/// that was set is noticed.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// First backoff, and shortest time between two reconciliations by time alone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

#[derive(Debug)]
pub struct CertController {
    pub store: TlsSecret,
    pub clock: Clock,
    /// DNS names or IP addresses by which clients reach the webhook.
    pub names: Vec<String>,
    pub lifetimes: Lifetimes,
    pub leading: watch::Receiver<bool>,
    /// The last valid state that the follower read.
    pub stored: watch::Receiver<Option<Arc<State>>>,
    /// The bundle that the caBundle of every webhook entry holds; `None` while it is unknown.
    pub in_place: watch::Receiver<Bundle>,
    /// Receives the bundle that every caBundle must hold, `None` while this replica does not lead. It is that of a live
    /// read: a late watch would take away a CA in use.
    pub bundle: watch::Sender<Bundle>,
    pub fault: watch::Sender<Fault>,
}

impl CertController {
    /// Reconciles while this replica leads; ends when the sender of `leading` is dropped.
    pub async fn run(mut self) {
        let mut backoff = SHORTEST_PAUSE;
        loop {
            if !*self.leading.borrow_and_update() {
                self.bundle.send_replace(None);
                self.fault.send_replace(None);
            }
            if self.leading.wait_for(|leading| *leading).await.is_err() {
                return;
            }
            let pause = match self.reconcile().await {
                Ok(pause) => {
                    self.fault.send_replace(None);
                    backoff = SHORTEST_PAUSE;
                    pause
                }
                Err(error) => {
                    self.fail(&error);
                    let pause = backoff;
                    backoff = (backoff * 2).min(LONGEST_PAUSE);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                ended = self.leading.changed() => if ended.is_err() { return },
                Ok(()) = self.in_place.changed() => {}
                // The Secret was changed by another client, or this is the echo of our own write.
                Ok(()) = self.stored.changed() => {}
            }
        }
    }

    /// Takes what is due, and returns the time until the next reconciliation.
    async fn reconcile(&mut self) -> Result<Duration, ControllerError> {
        let remembered = self.stored.borrow_and_update().clone();
        let in_place = self.in_place.borrow_and_update().clone();
        let CurrentState { state, over, lost } = self.load(remembered).await?;
        // After the read, whose response carries the API server's time.
        let now = self.clock.now();
        let (state, actions) =
            rotation::advance(state, in_place.as_deref(), &self.names, now, &self.lifetimes)?;
        if lost || !actions.is_empty() {
            self.store.write(&state, over).await?;
            info!(?actions, expires = %state.serving.info.not_after, "certificates written");
        }
        self.publish_bundle(&state);
        let due = rotation::next_due(&state, now, &self.lifetimes);
        let until = due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
        Ok(until.unwrap_or(LONGEST_PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
    }

    async fn load(&self, remembered: Option<Arc<State>>) -> Result<CurrentState, ControllerError> {
        let remembered = remembered.map(|state| State::clone(&state));
        Ok(match self.store.read().await? {
            Stored::Valid(state, version) => {
                CurrentState { state: Some(*state), over: Some(version), lost: false }
            }
            Stored::Absent => CurrentState { lost: remembered.is_some(), state: remembered, over: None },
            Stored::Damaged(error, version) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, remembered = remembered.is_some(), "replacing damaged Secret");
                CurrentState { state: remembered, over: Some(version), lost: true }
            }
            Stored::Unmanaged(unmanaged) => return Err(StoreError::Unmanaged(unmanaged).into()),
        })
    }

    fn publish_bundle(&self, state: &State) {
        let bundle = state.bundle();
        self.bundle.send_if_modified(|published| {
            let changed = published.as_deref() != Some(bundle.as_str());
            *published = Some(bundle.into());
            changed
        });
    }

    /// Logs an error unless it is that of the attempt before, and records it for readiness and metrics.
    fn fail(&self, error: &ControllerError) {
        if matches!(error, ControllerError::Store(StoreError::Conflict)) {
            info!(error = %error, "retrying");
            return;
        }
        let text = describe(error);
        if self.fault.borrow().as_ref() != Some(&text) {
            warn!(error = text, "failed to reconcile certificates, retrying");
            self.fault.send_replace(Some(text));
        }
    }
}

/// Joins an error and its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The state to advance from.
struct CurrentState {
    state: Option<State>,
    /// The Secret to replace; `None` if there is none.
    over: Option<Version>,
    /// True if the Secret does not hold `state` any more.
    lost: bool,
}
