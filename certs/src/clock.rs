//! The time by which certificates are issued and judged: the API server's.
//!
//! The API server is the client that verifies the certificates, so its clock is the one that counts. Every response
//! carries its time; a replica whose own clock is off corrects it by that. So replicas with different clocks agree on
//! what is due, and none of them undoes the work of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Differences up to this are left alone: HTTP dates have whole seconds, and responses take time. Certificates are
/// backdated by far more.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// The local clock, corrected by the API server's. Clones share the correction.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_seconds: Arc<AtomicI64>,
}

impl Clock {
    /// Returns the corrected time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.correct(Timestamp::now())
    }

    /// Records the time that a response carried when it arrived.
    pub fn observe(&self, server: Timestamp) {
        self.compare(server, Timestamp::now());
    }

    fn compare(&self, server: Timestamp, local: Timestamp) {
        let offset = server.duration_since(local);
        let seconds = if offset.abs() > TOLERANCE { offset.as_secs() } else { 0 };
        if self.offset_seconds.swap(seconds, Ordering::Relaxed).abs_diff(seconds)
            > TOLERANCE.as_secs().unsigned_abs()
        {
            tracing::warn!(seconds, "local clock differs from the API server's, whose time is used");
        }
    }

    fn correct(&self, local: Timestamp) -> Timestamp {
        let offset = SignedDuration::from_secs(self.offset_seconds.load(Ordering::Relaxed));
        local.checked_add(offset).unwrap_or(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_with_different_clocks_agree_on_the_time() {
        let server: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for seconds in [-63_072_000, -7_200, -31, -30, 0, 29, 31, 7_200, 63_072_000] {
            let (clock, local) = (Clock::default(), server + SignedDuration::from_secs(seconds));
            clock.compare(server, local);
            assert!(clock.correct(local).duration_since(server).abs() <= TOLERANCE, "{seconds}");
        }
    }

    #[test]
    fn correction_follows_the_latest_response() {
        let (clock, local) = (Clock::default(), "2026-01-01T00:00:00Z".parse().unwrap());
        clock.compare(local + SignedDuration::from_hours(2), local);
        clock.clone().compare(local, local);
        assert_eq!(clock.correct(local), local);
    }
}
