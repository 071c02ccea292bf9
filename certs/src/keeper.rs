//! The leader's part: keeps the Secret up to date by the rules of [`crate::rotate`].
//!
//! Each look reads the Secret live and writes on top of what it read, so two replicas that both
//! believe to lead can't take turns undoing each other: one of the writes is refused.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::Bundle;
use crate::rotate::{self, Action, Lifetimes, RotateError};
use crate::secret::{Found, SecretError, TlsSecret, Version};
use crate::state::State;

/// The longest time between two looks: a machine that was suspended, or whose clock was set, is at
/// most this late.
const LONGEST: Duration = Duration::from_mins(1);
/// The pause after a failure, and the shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(200);
/// The pause after the API failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Why a look came to nothing; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The next state.
    #[error(transparent)]
    Rotate(#[from] RotateError),
}

/// What the keeper needs to know.
#[derive(Debug)]
pub struct Keeper {
    /// Where the state is kept.
    pub secret: TlsSecret,
    /// What clients call the Service by: DNS names, or IP addresses.
    pub names: Vec<String>,
    /// How long certificates last.
    pub lifetimes: Lifetimes,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    /// The last whole state that this replica saw.
    pub last: watch::Receiver<Option<Arc<State>>>,
    /// The bundle that the caBundle of every webhook entry holds; `None` while nobody has looked.
    pub in_place: watch::Receiver<Bundle>,
    /// Told what every caBundle is to hold, as the Secret says it when it is read live: a watch that
    /// is behind would take an authority back that is in use. `None` while this replica does not lead.
    pub bundle: watch::Sender<Bundle>,
}

impl Keeper {
    /// Keeps the Secret while this replica leads; ends when the sender of `leading` is gone.
    pub async fn run(mut self) {
        loop {
            if !*self.leading.borrow_and_update() {
                self.bundle.send_replace(None);
            }
            if self.leading.wait_for(|leading| *leading).await.is_err() {
                return;
            }
            let pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    error!(error, "keeping the certificates failed; trying again");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                ended = self.leading.changed() => if ended.is_err() { return },
                Ok(()) = self.in_place.changed() => {}
                // Somebody changed the Secret, or this is the echo of an own write.
                Ok(()) = self.last.changed() => {}
            }
        }
    }

    /// One look: does what is due, returns the time until the next.
    async fn look(&mut self) -> Result<Duration, KeepError> {
        let now = Timestamp::now();
        let remembered = self.last.borrow_and_update().clone();
        let in_place = self.in_place.borrow_and_update().clone();
        let (on, seen) = self.seen(remembered).await?;
        let (state, actions) = advance(seen.state, in_place.as_deref(), &self.names, now, &self.lifetimes)?;
        if seen.lost || !actions.is_empty() {
            if !self.secret.write(&state, on).await? {
                info!("another replica changed the certificates first");
                return Ok(SHORTEST);
            }
            info!(actions = ?actions, expires = %state.leaf.facts.not_after, "the certificates were changed");
        }
        self.tell(&state);
        Ok(pause(&state, now, &self.lifetimes))
    }

    fn tell(&self, state: &State) {
        let bundle = state.bundle();
        self.bundle.send_if_modified(|known| {
            let changed = known.as_deref() != Some(bundle.as_str());
            *known = Some(bundle.into());
            changed
        });
    }

    async fn seen(&self, remembered: Option<Arc<State>>) -> Result<(Option<Version>, Seen), SecretError> {
        let remembered = remembered.map(|state| State::clone(&state));
        Ok(match self.secret.read().await? {
            Found::Whole(state, version) => (Some(version), Seen { state: Some(*state), lost: false }),
            Found::Absent => (None, Seen { lost: remembered.is_some(), state: remembered }),
            Found::Broken(error, version) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, remembered = remembered.is_some(), "the Secret is written anew");
                (Some(version), Seen { lost: true, state: remembered })
            }
        })
    }
}

/// What there is to go on from.
struct Seen {
    state: Option<State>,
    /// Whether the Secret does not hold `state` any more.
    lost: bool,
}

/// Does all that is due at `now`; pure but for the keys.
fn advance(
    state: Option<State>,
    bundle_in_place: Option<&str>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<(State, Vec<Action>), RotateError> {
    let (mut state, mut actions) = (state, Vec::new());
    loop {
        let in_place = holds_next(state.as_ref(), bundle_in_place);
        let action = rotate::due(state.as_ref(), in_place, names, now, lifetimes);
        match (action, state) {
            (Action::Keep, Some(done)) => return Ok((done, actions)),
            (action, before) => {
                state = Some(rotate::apply(action, before.as_ref(), names, now, lifetimes)?);
                actions.push(action);
            }
        }
    }
}

fn holds_next(state: Option<&State>, bundle: Option<&str>) -> Option<bool> {
    let next = state?.next.as_ref()?;
    Some(bundle?.contains(next.authority.pair.certificate.trim()))
}

fn pause(state: &State, now: Timestamp, lifetimes: &Lifetimes) -> Duration {
    let until = rotate::next_look(state, lifetimes).duration_since(now);
    Duration::try_from(until).unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    const LIFETIMES: Lifetimes = Lifetimes {
        authority: SignedDuration::from_secs(900),
        leaf: SignedDuration::from_secs(90),
        settle: SignedDuration::from_mins(1),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn advanced(state: Option<State>, bundle: Option<&str>, seconds: i64) -> (State, Vec<Action>) {
        advance(state, bundle, &["localhost".to_owned()], at(seconds), &LIFETIMES).unwrap()
    }

    #[test]
    fn one_look_does_all_that_is_due() {
        let (first, actions) = advanced(None, None, 0);
        assert_eq!(actions, [Action::Start]);
        let (second, actions) = advanced(Some(first.clone()), Some(&first.bundle()), 600);
        assert_eq!(actions, [Action::RenewLeaf, Action::AddNext], "the bundle lacks the new authority");
        let (third, actions) = advanced(Some(second.clone()), Some(&second.bundle()), 601);
        assert_eq!(actions, [Action::MarkPublished]);
        let (_, actions) = advanced(Some(third.clone()), Some(&third.bundle()), 661);
        assert_eq!(actions, [Action::Promote]);
        assert_eq!(advanced(Some(third), None, 650).1, [], "nobody looked, nothing moves");
    }

    #[test]
    fn looks_are_never_further_apart_than_a_minute_nor_a_busy_loop() {
        let (state, _) = advanced(None, None, 0);
        assert_eq!(pause(&state, at(0), &LIFETIMES), Duration::from_mins(1));
        assert_eq!(pause(&state, at(20), &LIFETIMES), Duration::from_secs(40));
        assert_eq!(pause(&state, at(500), &LIFETIMES), SHORTEST);
        assert_eq!(pause(&state, at(0), &Lifetimes::default()), SHORTEST);
    }
}
