//! When certificates are replaced, and in which order. Pure: `now` is given, nothing is written.
//!
//! ```text
//!  Start ─> Keep ─┬─ leaf at 2/3 of its life ──────> RenewLeaf
//!                 └─ authority at 2/3 of its life ─> AddNext ─ in every caBundle ─> MarkPublished
//!                                                    ─ settle time ─> Promote ─ last old leaf over ─> DropRetired
//! ```
//!
//! An authority is known to every client before anything that it signed is served, and is forgotten
//! only when nothing that it signed can still be served. So replicas need not act at the same time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::facts::FactsError;
use crate::issue::{self, IssueError, Validity};
use crate::pair::Pair;
use crate::state::{Issued, Next, Retired, State};

/// How far before its making a certificate begins to be valid: clocks of API servers may be behind.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// How long certificates last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Life of an authority.
    pub authority: SignedDuration,
    /// Life of a leaf.
    pub leaf: SignedDuration,
    /// How long a new authority stands in every caBundle before a leaf of it is served: the time
    /// that the slowest API server may take to see the change.
    pub settle: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            authority: SignedDuration::from_hours(365 * 24),
            leaf: SignedDuration::from_hours(30 * 24),
            settle: SignedDuration::from_secs(60),
        }
    }
}

/// Lifetimes under which a rotation can't succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesError {
    /// Zero or negative.
    #[error(
        "the lifetimes of leaf and authority must be longer than two seconds, the settle time not negative"
    )]
    NotPositive,
    /// The old authority would be over before the new one may be used.
    #[error(
        "a third of the authority's life must exceed the settle time plus a third of a leaf's life, \
         or the old authority is over before the new one is trusted everywhere"
    )]
    AuthorityTooShort,
    /// Certificates can't say such times.
    #[error("a lifetime may be a hundred years at most")]
    TooLong,
}

/// The longest that is allowed: far from where times overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

impl Lifetimes {
    /// Those that a person gave.
    ///
    /// # Errors
    /// As [`checked`](Self::checked).
    pub fn new(authority: Duration, leaf: Duration, settle: Duration) -> Result<Self, LifetimesError> {
        let signed = |life| SignedDuration::try_from(life).map_err(|_| LifetimesError::TooLong);
        Self { authority: signed(authority)?, leaf: signed(leaf)?, settle: signed(settle)? }.checked()
    }

    /// Checks that a rotation can finish in time.
    ///
    /// # Errors
    /// [`LifetimesError`] with the rule that is broken.
    pub fn checked(self) -> Result<Self, LifetimesError> {
        let shortest = SignedDuration::from_secs(2);
        if self.leaf <= shortest || self.authority <= shortest || self.settle.is_negative() {
            return Err(LifetimesError::NotPositive);
        }
        if [self.leaf, self.authority, self.settle].iter().any(|life| *life > LONGEST) {
            return Err(LifetimesError::TooLong);
        }
        if self.authority / 3 <= self.settle + self.leaf / 3 {
            return Err(LifetimesError::AuthorityTooShort);
        }
        Ok(self)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Keep,
    /// Make everything anew: there is nothing yet, or nothing that is still valid.
    Start,
    /// Sign a new leaf with the current authority.
    RenewLeaf,
    /// Make a new authority, for clients to learn of.
    AddNext,
    /// Note that every caBundle holds the next authority.
    MarkPublished,
    /// Note that one caBundle does not hold it any more.
    MarkUnpublished,
    /// The next authority becomes the current one and signs the leaf; the old one retires.
    Promote,
    /// Forget retired authorities whose last leaf is over.
    DropRetired,
}

/// Decides what is to be done at `now`. `in_place`: whether the caBundle of every webhook entry
/// holds the next authority; `None` while nobody has looked.
#[must_use]
pub fn due(
    state: Option<&State>,
    in_place: Option<bool>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Action {
    let Some(state) = state else { return Action::Start };
    let current_over = now >= state.current.facts.not_after;
    match &state.next {
        // Nothing that is served is trusted any more: waiting would help nobody.
        Some(_) if current_over => return Action::Promote,
        None if current_over => return Action::Start,
        Some(Next { published: None, .. }) if in_place == Some(true) => return Action::MarkPublished,
        Some(Next { published: Some(_), .. }) if in_place == Some(false) => return Action::MarkUnpublished,
        Some(Next { published: Some(since), .. })
            if in_place == Some(true) && now >= *since + lifetimes.settle =>
        {
            return Action::Promote;
        }
        _ => {}
    }
    if leaf_due(state, names, now, lifetimes) {
        return Action::RenewLeaf;
    }
    if state.next.is_none() && now >= renewal(state.current.facts.not_after, lifetimes.authority) {
        return Action::AddNext;
    }
    if state.retired.iter().any(|retired| now >= retired.until) {
        return Action::DropRetired;
    }
    Action::Keep
}

fn leaf_due(state: &State, names: &[String], now: Timestamp, lifetimes: &Lifetimes) -> bool {
    let leaf = &state.leaf.facts;
    if leaf.names != names || leaf.not_before > now {
        return true;
    }
    // A leaf never outlasts its authority, so near that end a new one would be no better.
    let better = leaf_validity(&state.current, now, lifetimes).not_after > leaf.not_after;
    better && now >= renewal(leaf.not_after, lifetimes.leaf)
}

/// When two thirds of a life that ends at `end` are over.
fn renewal(end: Timestamp, life: SignedDuration) -> Timestamp {
    end - life / 3
}

/// When to look again at the latest, should nothing happen before. May lie in the past.
#[must_use]
pub fn next_look(state: &State, lifetimes: &Lifetimes) -> Timestamp {
    let mut looks = vec![
        renewal(state.leaf.facts.not_after, lifetimes.leaf),
        match &state.next {
            None => renewal(state.current.facts.not_after, lifetimes.authority),
            Some(Next { published: Some(since), .. }) => *since + lifetimes.settle,
            Some(_) => state.current.facts.not_after,
        },
    ];
    looks.extend(state.retired.iter().map(|retired| retired.until));
    looks.into_iter().min().unwrap_or(state.leaf.facts.not_after)
}

/// Why the next state could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// No certificate was issued.
    #[error("failed to issue a certificate")]
    Issue(#[from] IssueError),
    /// What was issued can't be read back.
    #[error("failed to read an issued certificate")]
    Facts(#[from] FactsError),
    /// The action does not fit the state that it is applied to.
    #[error("the state has nothing that {0:?} could apply to")]
    Unfit(Action),
}

/// The state after an action, at `now`.
///
/// # Errors
/// [`RotateError`]; the state given is untouched.
pub fn apply(
    action: Action,
    state: Option<&State>,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<State, RotateError> {
    if action == Action::Start {
        let current = authority(now, lifetimes)?;
        let leaf = leaf(&current, names, now, lifetimes)?;
        return Ok(State { current, leaf, next: None, retired: Vec::new() });
    }
    let mut state = state.cloned().ok_or(RotateError::Unfit(action))?;
    match action {
        Action::Keep | Action::Start => {}
        Action::RenewLeaf => state.leaf = leaf(&state.current, names, now, lifetimes)?,
        Action::AddNext => {
            state.next = Some(Next { authority: authority(now, lifetimes)?, published: None });
        }
        Action::MarkPublished | Action::MarkUnpublished => {
            let next = state.next.as_mut().ok_or(RotateError::Unfit(action))?;
            next.published = (action == Action::MarkPublished).then_some(now);
        }
        Action::Promote => {
            let next = state.next.take().ok_or(RotateError::Unfit(action))?;
            let last_leaf = state.leaf.facts.not_after;
            state.leaf = leaf(&next.authority, names, now, lifetimes)?;
            let old = std::mem::replace(&mut state.current, next.authority);
            state.retired.push(Retired {
                certificate: old.pair.certificate,
                key_id: old.facts.key_id,
                until: last_leaf,
            });
        }
        Action::DropRetired => state.retired.retain(|retired| now < retired.until),
    }
    Ok(state)
}

fn authority(now: Timestamp, lifetimes: &Lifetimes) -> Result<Issued, RotateError> {
    let validity = Validity { not_before: now - BACKDATE, not_after: whole(now + lifetimes.authority) };
    Ok(Issued::new(issue::authority(validity)?)?)
}

fn leaf(
    authority: &Issued,
    names: &[String],
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<Issued, RotateError> {
    let pair: Pair = issue::leaf(&authority.pair, names, leaf_validity(authority, now, lifetimes))?;
    Ok(Issued::new(pair)?)
}

fn leaf_validity(authority: &Issued, now: Timestamp, lifetimes: &Lifetimes) -> Validity {
    let not_after = whole(now + lifetimes.leaf).min(authority.facts.not_after);
    Validity { not_before: (now - BACKDATE).max(authority.facts.not_before), not_after }
}

/// Certificates know whole seconds only.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
#[path = "rotate_tests.rs"]
mod tests;
