//! Pauses after failures, and the grace period before an outcome counts as unknown. Kept by the uid of
//! the session; the caller supplies the time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Time for which an outcome must be unknown before that is written: the watch of pods may be behind.
pub const UNKNOWN_GRACE_PERIOD: Duration = Duration::from_secs(3);

/// Consecutive failures of each session.
#[derive(Debug, Default)]
pub struct FailureBackoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl FailureBackoff {
    /// Counts a failure and returns the pause before the next attempt.
    pub fn next_pause(&self, uid: &str) -> Duration {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.entry(uid.to_owned()).or_default();
        *failures = failures.saturating_add(1);
        pause_after(*failures)
    }

    pub fn reset(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Resets all sessions, deleted ones among them.
    pub fn clear(&self) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Sessions whose outcome is unknown, with the time since which it is.
#[derive(Debug, Default)]
pub struct UnknownGrace {
    since: Mutex<HashMap<String, Instant>>,
}

impl UnknownGrace {
    /// Reports whether the outcome may still arrive. The first call for a session starts its grace period.
    pub fn is_pending(&self, uid: &str, now: Instant) -> bool {
        let mut all = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*all.entry(uid.to_owned()).or_insert(now)) < UNKNOWN_GRACE_PERIOD
    }

    pub fn reset(&self, uid: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Resets all sessions, deleted ones among them.
    pub fn clear(&self) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let pauses = [1, 2, 3, 20, u32::MAX].map(|failures| pause_after(failures).as_millis());
        assert_eq!(pauses, [250, 500, 1000, 30_000, 30_000]);
    }

    #[test]
    fn a_session_that_succeeded_starts_with_the_shortest_pause() {
        let backoff = FailureBackoff::default();
        backoff.next_pause("a");
        assert_eq!(backoff.next_pause("a"), 2 * FIRST_PAUSE);
        assert_eq!(backoff.next_pause("b"), FIRST_PAUSE);
        backoff.reset("a");
        assert_eq!((backoff.next_pause("a"), backoff.next_pause("b")), (FIRST_PAUSE, 2 * FIRST_PAUSE));
    }

    #[test]
    fn each_session_has_its_own_grace_period_until_it_is_reset() {
        let (grace, start) = (UnknownGrace::default(), Instant::now());
        assert!(grace.is_pending("a", start));
        assert!(grace.is_pending("a", start + UNKNOWN_GRACE_PERIOD / 2));
        assert!(!grace.is_pending("a", start + UNKNOWN_GRACE_PERIOD));
        assert!(grace.is_pending("b", start + UNKNOWN_GRACE_PERIOD));
        grace.reset("a");
        assert!(grace.is_pending("a", start + UNKNOWN_GRACE_PERIOD));
        grace.clear();
        assert!(grace.is_pending("b", start + 3 * UNKNOWN_GRACE_PERIOD));
    }
}
