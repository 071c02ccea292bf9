//! Follows the Secret on every replica: serves its certificate and keeps the last valid state.
//!
//! A Secret that is deleted or damaged takes nothing away: the last valid certificate stays in service, and the leader
//! writes it back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tracing::{error, info, warn};
use workflow_contract::names::TLS_SECRET;

use crate::cert;
use crate::clock::Clock;
use crate::resolver::{Resolver, Swap};
use crate::rotation::State;
use crate::store::{Stored, TlsSecret};
use crate::types::Fault;

/// Time between attempts to serve a rejected certificate: it may become valid without a change of the Secret.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Follower {
    resolver: Arc<Resolver>,
    clock: Clock,
    state: watch::Sender<Option<Arc<State>>>,
    fault: watch::Sender<Fault>,
    rejected: Option<Arc<State>>,
}

impl Follower {
    /// Publishes the last valid state in `state`, also as a wake-up where the Secret does not hold it any more.
    pub fn new(
        resolver: Arc<Resolver>,
        clock: Clock,
        state: watch::Sender<Option<Arc<State>>>,
        fault: watch::Sender<Fault>,
    ) -> Self {
        Self { resolver, clock, state, fault, rejected: None }
    }

    /// Follows the Secret forever.
    pub async fn run(mut self, store: TlsSecret) {
        let mut changes = std::pin::pin!(store.watch());
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(stored)) => self.update(stored),
                    Some(Err(error)) => {
                        warn!(error = %error, secret = TLS_SECRET, "failed to watch certificates, restarting");
                    }
                    None => return,
                },
                () = tokio::time::sleep(RETRY), if self.rejected.is_some() => self.serve_rejected(),
            }
        }
    }

    fn update(&mut self, stored: Stored) {
        self.rejected = None;
        match stored {
            Stored::Valid(state, _) => {
                let state = Arc::new(*state);
                self.serve(&state);
                self.state.send_replace(Some(state));
                return;
            }
            Stored::Absent => {
                info!(secret = TLS_SECRET, "no Secret with certificates");
                self.fault.send_replace(None);
            }
            Stored::Damaged(error, _) => self.fail(format!("the Secret {TLS_SECRET} is damaged: {error}")),
            Stored::Unmanaged(unmanaged) => self.fail(unmanaged.to_string()),
        }
        // Wakes the controller; the last valid state is unchanged.
        self.state.send_modify(|_| ());
    }

    fn serve_rejected(&mut self) {
        if let Some(state) = self.rejected.take() {
            self.serve(&state);
        }
    }

    fn serve(&mut self, state: &Arc<State>) {
        match self.swap(state) {
            Ok(swap) => {
                if swap == Swap::Replaced {
                    info!(expires = %state.serving.info.not_after, "serving new certificate");
                }
                self.fault.send_replace(None);
            }
            Err(error) => {
                self.fail(format!("rejected new certificate, keeping the current one: {error}"));
                self.rejected = Some(Arc::clone(state));
            }
        }
    }

    fn swap(&self, state: &State) -> Result<Swap, cert::CertError> {
        self.resolver.swap(&state.serving.pair, self.clock.now())
    }

    /// Records a fault, and logs it if it is a new one.
    fn fail(&self, fault: String) {
        let new = self.fault.borrow().as_ref() != Some(&fault);
        if new {
            error!(error = fault, "failed to use the Secret with certificates");
            self.fault.send_replace(Some(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::rotation::{Action, Lifetimes, apply};
    use crate::store::{DecodeError, Version};

    fn follower() -> (Follower, watch::Receiver<Option<Arc<State>>>, watch::Receiver<Fault>) {
        let ((state, states), (fault, faults)) = (watch::channel(None), watch::channel(None));
        (Follower::new(Arc::default(), Clock::default(), state, fault), states, faults)
    }

    fn issued(now: Timestamp) -> State {
        apply(Action::Start, None, &["localhost".to_owned()], now, &Lifetimes::default()).unwrap()
    }

    fn valid(state: &State) -> Stored {
        Stored::Valid(Box::new(state.clone()), Version::default())
    }

    #[test]
    fn a_missing_or_damaged_secret_takes_nothing_away() {
        let (first, second) = (issued(Timestamp::now()), issued(Timestamp::now()));
        let (mut follower, states, faults) = follower();
        follower.update(valid(&first));
        follower.update(Stored::Absent);
        assert_eq!(*faults.borrow(), None);
        follower.update(Stored::Damaged(DecodeError::Missing("tls.crt"), Version::default()));
        assert!(faults.borrow().as_ref().is_some_and(|fault| fault.contains("tls.crt")));
        assert_eq!(states.borrow().as_deref(), Some(&first));
        assert_eq!(follower.resolver.info(), Some(first.serving.info));

        follower.update(valid(&second));
        assert_eq!(
            (follower.resolver.info(), faults.borrow().clone()),
            (Some(second.serving.info.clone()), None)
        );
        assert_eq!(states.borrow().as_deref(), Some(&second));
    }

    #[test]
    fn serves_a_rejected_certificate_once_it_is_valid() {
        let (now, two_days) = (Timestamp::now(), SignedDuration::from_hours(48));
        let (mut follower, _states, faults) = follower();
        follower.update(valid(&issued(now + two_days)));
        assert!(faults.borrow().as_ref().is_some_and(|fault| fault.contains("is not valid before")));
        assert_eq!(follower.resolver.info(), None);

        // The API server is ahead of this replica's clock.
        follower.clock.observe(now + two_days);
        follower.serve_rejected();
        assert!(follower.resolver.info().is_some() && faults.borrow().is_none());
    }
}
