//! How long to wait: after failures, and before saying that nobody knows. Bookkeeping by the uid of
//! the session, without a clock of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// First and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// How long "nobody saw it" must last before it is said: the pods' watch may be behind, and knows.
pub const DOUBT: Duration = Duration::from_secs(3);

/// Failures in a row; only of sessions that fail at present.
#[derive(Debug, Default)]
pub struct Failures {
    in_a_row: Mutex<HashMap<String, u32>>,
}

impl Failures {
    /// Counts a failure and gives the pause until the next attempt.
    pub fn count(&self, uid: &str) -> Duration {
        let mut all = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.entry(uid.to_owned()).or_default();
        *failures = failures.saturating_add(1);
        back_off(*failures)
    }

    /// Forgets the failures of sessions: their next pause is the shortest again.
    pub fn forget(&self, which: impl Fn(&str) -> bool) {
        self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| !which(uid));
    }
}

/// Since when nobody is known to have seen an outcome; only while that is so.
#[derive(Debug, Default)]
pub struct Doubts {
    since: Mutex<HashMap<String, Instant>>,
}

impl Doubts {
    /// Whether the doubt at `now` is too young to be said.
    pub fn is_new(&self, uid: &str, now: Instant) -> bool {
        let mut all = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*all.entry(uid.to_owned()).or_insert(now)) < DOUBT
    }

    /// The outcome is known.
    pub fn clear(&self, uid: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets all: sessions that are no more are never cleared.
    pub fn forget(&self) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn back_off(failures: u32) -> Duration {
    let (first, longest) = BACK_OFF;
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let pauses: Vec<u128> =
            [1, 2, 3, 20, u32::MAX].map(back_off).iter().map(Duration::as_millis).collect();
        assert_eq!(pauses, [250, 500, 1000, 30_000, 30_000]);
    }

    #[test]
    fn a_session_that_succeeded_starts_with_the_shortest_pause() {
        let failures = Failures::default();
        failures.count("a");
        assert_eq!(failures.count("a"), 2 * BACK_OFF.0);
        assert_eq!(failures.count("b"), BACK_OFF.0);
        failures.forget(|uid| uid == "a");
        assert_eq!((failures.count("a"), failures.count("b")), (BACK_OFF.0, 2 * BACK_OFF.0));
    }

    #[test]
    fn a_doubt_is_said_once_it_has_lasted_and_not_before() {
        let (doubts, start) = (Doubts::default(), Instant::now());
        assert!(doubts.is_new("a", start));
        assert!(doubts.is_new("a", start + DOUBT / 2));
        assert!(!doubts.is_new("a", start + DOUBT));
        assert!(doubts.is_new("b", start + DOUBT), "each has its own");
        doubts.clear("a");
        assert!(doubts.is_new("a", start + DOUBT), "a new doubt");
        doubts.forget();
        assert!(doubts.is_new("b", start + 3 * DOUBT));
    }
}
