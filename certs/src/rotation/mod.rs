//! Decides when certificates are replaced, and in which order. Pure: the time is given, nothing is written.
//!
//! ```text
//!  Start ─> Keep ─┬─ serving certificate at 2/3 of its lifetime ─> RenewServing
//!                 └─ CA at 2/3 of its lifetime ─> AddNext ─ in every caBundle ─> MarkPublished ─ settle time ─> Promote
//!                                             ─ last serving certificate of the old CA expired ─> DropRetired
//! ```
//!
//! Every client trusts a CA before a certificate that it signed is served, and until the last of them has expired. So
//! replicas need not act at the same time.
//!
//! Every action makes something valid at `now` or brings the state closer to that, so [`advance`] ends after a few
//! steps whatever clock issued the certificates. A CA that is not valid at `now`, expired or from the future, is
//! trusted by no client; it is replaced at once.

mod lifetimes;
mod state;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::cert::CertError;
use crate::issue::{self, IssueError, Validity};

pub use lifetimes::{Lifetimes, LifetimesError};
pub use state::{Issued, NextCa, RetiredCa, State};

/// Time by which validity starts before the time of issue, so that verifiers whose clock is behind accept a certificate.
/// Renewal counts from the end of validity and is not affected.
const BACKDATE: SignedDuration = SignedDuration::from_hours(24);

/// Actions that one [`advance`] may take; the longest sequence without a bug has four.
const MAX_STEPS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Keep,
    /// Issue a new CA and serving certificate: there are none, or the CA is not valid and has no valid successor.
    Start,
    /// Sign a new serving certificate with the current CA.
    RenewServing,
    /// Issue the next CA, also in place of a next CA that is not valid.
    AddNext,
    /// Record that every caBundle holds the next CA since now.
    MarkPublished,
    /// Record that some caBundle does not hold the next CA any more.
    MarkUnpublished,
    /// Make the next CA the current one, sign a serving certificate with it, and retire the old CA.
    Promote,
    /// Remove retired CAs whose last serving certificate has expired.
    DropRetired,
}

#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error("failed to issue a certificate")]
    Issue(#[from] IssueError),
    #[error("failed to read an issued certificate")]
    Cert(#[from] CertError),
    #[error("the action {0:?} does not apply to this state")]
    NotApplicable(Action),
    #[error("rotation makes no progress, {0:?} is still due; please report this")]
    NoProgress(Action),
}

/// Takes every action that is due at `now`, and returns the new state with the actions taken.
pub fn advance(
    state: Option<State>,
    bundle_in_place: Option<&str>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<(State, Vec<Action>), RotationError> {
    let (mut state, mut actions) = (state, Vec::new());
    loop {
        let in_place = next_in_place(state.as_ref(), bundle_in_place);
        match (due(state.as_ref(), in_place, names, now, lifetimes), state) {
            (Action::Keep, Some(done)) => return Ok((done, actions)),
            (action, _) if actions.len() >= MAX_STEPS => return Err(RotationError::NoProgress(action)),
            (action, before) => {
                state = Some(apply(action, before.as_ref(), names, now, lifetimes)?);
                actions.push(action);
            }
        }
    }
}

fn next_in_place(state: Option<&State>, bundle: Option<&str>) -> Option<bool> {
    let next = state?.next.as_ref()?;
    Some(bundle?.contains(next.ca.pair.certificate.trim()))
}

/// Decides what is due at `now`.
///
/// `next_in_place`: whether the caBundle of every webhook entry holds the next CA; `None` while it is unknown.
#[must_use]
pub fn due(
    state: Option<&State>,
    next_in_place: Option<bool>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Action {
    let Some(state) = state else { return Action::Start };
    let next_is_valid = state.next.as_ref().is_some_and(|next| next.ca.info.is_valid_at(now));
    if !state.ca.info.is_valid_at(now) {
        return if next_is_valid { Action::Promote } else { Action::Start };
    }
    match state.next.as_ref().map(|next| next.published) {
        Some(_) if !next_is_valid => return Action::AddNext,
        Some(None) if next_in_place == Some(true) => return Action::MarkPublished,
        Some(Some(_)) if next_in_place == Some(false) => return Action::MarkUnpublished,
        Some(Some(since)) if next_in_place == Some(true) => {
            if since > now {
                // Recorded by a clock that was ahead.
                return Action::MarkPublished;
            }
            if now >= since + lifetimes.settle {
                return Action::Promote;
            }
        }
        _ => {}
    }
    if serving_due(state, names, now, lifetimes) {
        return Action::RenewServing;
    }
    if state.next.is_none() && now >= renewal(state.ca.info.not_after, lifetimes.ca) {
        return Action::AddNext;
    }
    if state.retired.iter().any(|retired| now >= retired.until) {
        return Action::DropRetired;
    }
    Action::Keep
}

/// Reports whether the serving certificate must be renewed by the current CA, which is valid at `now`.
fn serving_due(state: &State, names: &[String], now: Timestamp, lifetimes: &Lifetimes) -> bool {
    let serving = &state.serving.info;
    if serving.names != names || serving.issuer_key_id != state.ca.info.key_id || !serving.is_valid_at(now) {
        return true;
    }
    // Near the end of the CA, which it never outlives, a new one would not last longer.
    let lasts_longer = serving_validity(&state.ca, now, lifetimes).not_after > serving.not_after;
    lasts_longer && now >= renewal(serving.not_after, lifetimes.serving)
}

/// The time at which two thirds of a lifetime that ends at `end` have passed.
fn renewal(end: Timestamp, lifetime: SignedDuration) -> Timestamp {
    end - lifetime / 3
}

/// Returns the next time after `now` at which something becomes due by time alone.
#[must_use]
pub fn next_due(state: &State, now: Timestamp, lifetimes: &Lifetimes) -> Option<Timestamp> {
    let next = match &state.next {
        None => Some(renewal(state.ca.info.not_after, lifetimes.ca)),
        Some(next) => next.published.map(|since| since + lifetimes.settle),
    };
    let ends = [state.serving.info.not_after, state.ca.info.not_after];
    let renewals = [renewal(state.serving.info.not_after, lifetimes.serving)];
    let retired = state.retired.iter().map(|retired| retired.until);
    ends.into_iter().chain(renewals).chain(next).chain(retired).filter(|time| *time > now).min()
}

/// Applies one action at `now`.
pub fn apply(
    action: Action,
    state: Option<&State>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<State, RotationError> {
    if action == Action::Start {
        let ca = issue_ca(now, lifetimes)?;
        let serving = issue_serving(&ca, names, now, lifetimes)?;
        return Ok(State { ca, serving, next: None, retired: Vec::new() });
    }
    let mut state = state.cloned().ok_or(RotationError::NotApplicable(action))?;
    match action {
        Action::Keep | Action::Start => {}
        Action::RenewServing => state.serving = issue_serving(&state.ca, names, now, lifetimes)?,
        Action::AddNext => {
            state.next = Some(NextCa { ca: issue_ca(now, lifetimes)?, published: None });
        }
        Action::MarkPublished | Action::MarkUnpublished => {
            let next = state.next.as_mut().ok_or(RotationError::NotApplicable(action))?;
            next.published = (action == Action::MarkPublished).then_some(now);
        }
        Action::Promote => {
            let next = state.next.take().ok_or(RotationError::NotApplicable(action))?;
            let until = state.serving.info.not_after;
            state.serving = issue_serving(&next.ca, names, now, lifetimes)?;
            let old = std::mem::replace(&mut state.ca, next.ca);
            state.retired.push(RetiredCa {
                certificate: old.pair.certificate,
                key_id: old.info.key_id,
                until,
            });
        }
        Action::DropRetired => state.retired.retain(|retired| now < retired.until),
    }
    Ok(state)
}

fn issue_ca(now: Timestamp, lifetimes: &Lifetimes) -> Result<Issued, RotationError> {
    let validity = Validity { not_before: now - BACKDATE, not_after: whole(now + lifetimes.ca) };
    Ok(Issued::new(issue::ca(validity)?)?)
}

fn issue_serving(
    ca: &Issued,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<Issued, RotationError> {
    Ok(Issued::new(issue::serving(&ca.pair, names, serving_validity(ca, now, lifetimes))?)?)
}

fn serving_validity(ca: &Issued, now: Timestamp, lifetimes: &Lifetimes) -> Validity {
    Validity {
        not_before: (now - BACKDATE).max(ca.info.not_before),
        not_after: whole(now + lifetimes.serving).min(ca.info.not_after),
    }
}

/// Truncates to whole seconds, as certificates do.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
