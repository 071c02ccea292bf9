//! The schedule of attempts. Pure; [`crate::fetch::failure`] decides which failures may pass.
//!
//! The kubelet never restarts session pods, so failures that may pass are retried inside one run. Most pass within
//! seconds (a restarted proxy, a name that is not in DNS yet, a CoreDNS restart); 30 s of waiting fit into
//! the default time limit of 120 s beside the fetch itself.

use std::time::{Duration, SystemTime};

/// Maximum number of attempts.
pub const MAX_ATTEMPTS: u32 = 5;
/// Maximum number of attempts for a host name that does not exist: nearly always a misspelled URL.
pub const MAX_ATTEMPTS_UNRESOLVED: u32 = 2;
/// Maximum sum of all waits without a `Retry-After`.
pub const MAX_WAITING: Duration = Duration::from_secs(30);
/// Nominal wait before the second attempt; it doubles from there, so that four waits sum up to [`MAX_WAITING`].
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The next attempt after a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retryable {
    /// Maximum number of attempts for this kind of failure.
    pub max_attempts: u32,
    /// The server's `Retry-After`.
    pub after: Option<Duration>,
}

/// Returns the wait before the next attempt; `None` to give up.
///
/// `attempts` have been made, `waited` is the sum of the waits between them, `left` the time until the deadline.
/// `random` is uniform in 0..1; a wait is between half and all of its nominal length, so that pods that started
/// together do not return together. A server's `Retry-After` is respected as long as it fits into `left`; an earlier
/// attempt would be useless.
pub fn next_wait(
    retryable: Retryable,
    attempts: u32,
    waited: Duration,
    left: Duration,
    random: f64,
) -> Option<Duration> {
    if attempts >= retryable.max_attempts.min(MAX_ATTEMPTS) {
        return None;
    }
    let nominal = FIRST_WAIT * 2_u32.pow(attempts.saturating_sub(1).min(10));
    let jittered = nominal.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    match retryable.after {
        Some(after) if after >= left => None,
        Some(after) if after >= jittered => Some(after),
        _ => MAX_WAITING.checked_sub(waited).filter(|rest| !rest.is_zero()).map(|rest| jittered.min(rest)),
    }
}

/// Parses `Retry-After`: seconds, or an HTTP date, which counts from `now`.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Retryable = Retryable { max_attempts: MAX_ATTEMPTS, after: None };
    const ZERO: Duration = Duration::ZERO;

    const LEFT: Duration = Duration::from_secs(100);

    #[test]
    fn waits_double_and_use_the_whole_allowance() {
        let waits: Vec<_> =
            (1..=5).map(|n| next_wait(PLAIN, n, ZERO, LEFT, 1.0).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(4), Some(8), Some(16), None]);
        assert_eq!(Duration::from_secs(waits.into_iter().flatten().sum()), MAX_WAITING);
    }

    #[test]
    fn jitter_removes_at_most_half() {
        assert_eq!(next_wait(PLAIN, 1, ZERO, LEFT, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(next_wait(PLAIN, 2, ZERO, LEFT, 0.5), Some(Duration::from_secs(3)));
    }

    #[test]
    fn name_that_does_not_exist_gets_two_attempts() {
        let dns = Retryable { max_attempts: MAX_ATTEMPTS_UNRESOLVED, after: None };
        assert!(next_wait(dns, 1, ZERO, LEFT, 0.0).is_some());
        assert_eq!(next_wait(dns, 2, ZERO, LEFT, 0.0), None);
    }

    #[test]
    fn respects_retry_after_as_long_as_it_fits_into_the_time_limit() {
        let after = |s| Retryable { after: Some(Duration::from_secs(s)), ..PLAIN };
        let wait =
            |s, waited| next_wait(after(s), 1, Duration::from_secs(waited), LEFT, 1.0).map(|w| w.as_secs());
        assert_eq!(wait(7, 0), Some(7));
        assert_eq!(wait(0, 0), Some(2));
        assert_eq!(wait(31, 0), Some(31), "longer than our own waits");
        assert_eq!(wait(31, 29), Some(31), "also after them");
        assert_eq!(wait(100, 0), None, "not past the time limit");
    }

    #[test]
    fn sum_of_own_waits_is_bounded() {
        assert_eq!(next_wait(PLAIN, 1, MAX_WAITING, LEFT, 1.0), None);
        let late = next_wait(PLAIN, 4, Duration::from_secs(28), LEFT, 1.0);
        assert_eq!(late, Some(Duration::from_secs(2)));
    }

    #[test]
    fn parses_retry_after_in_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        let read = |value| parse_retry_after(value, now).map(|after| after.as_secs());
        for (value, after) in [
            (" 5 ", Some(5)),
            ("Wed, 21 Oct 2015 07:28:07 GMT", Some(7)),
            ("Wed, 21 Oct 2015 07:27:59 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(read(value), after, "{value}");
        }
    }
}
