//! When to try again: a pure schedule. Which failures may pass is in [`crate::fetch::failure`].
//!
//! Session pods are never restarted by the kubelet, so what can pass must be retried inside one run.
//! Most trouble that passes does so within seconds (a restarted proxy, a name that is not yet known
//! to the resolver); 30 s of waiting fit into the default limit of 120 s beside the fetch itself.

use std::time::{Duration, SystemTime};

/// Attempts at most.
pub const MAX_ATTEMPTS: u32 = 5;
/// Attempts at most where the host's name does not resolve: nearly always a misspelt URL.
pub const MAX_ATTEMPTS_UNRESOLVED: u32 = 2;
/// Waiting at most, over all attempts.
pub const MAX_WAITING: Duration = Duration::from_secs(30);
/// Wait before the second attempt, before jitter; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// What a failure that may pass says about the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retryable {
    /// Attempts at most for a failure of this kind.
    pub max_attempts: u32,
    /// What the server asked for in `Retry-After`.
    pub after: Option<Duration>,
}

/// How long to wait before the next attempt; `None` to give up.
///
/// `attempts` have been made, `waited` is the sum of the waits between them. `random` is uniform in
/// 0..1; the wait is between half and all of its nominal length, so that pods that started together do
/// not come back together. A server's `Retry-After` is kept to; where it asks for more than is left
/// there is no point in coming early.
pub fn next_wait(retryable: Retryable, attempts: u32, waited: Duration, random: f64) -> Option<Duration> {
    if attempts >= retryable.max_attempts.min(MAX_ATTEMPTS) {
        return None;
    }
    let left = MAX_WAITING.checked_sub(waited).filter(|left| !left.is_zero())?;
    let nominal = FIRST_WAIT * 2_u32.pow(attempts.saturating_sub(1).min(10));
    let jittered = nominal.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    match retryable.after {
        Some(after) if after > left => None,
        Some(after) => Some(after.max(jittered).min(left)),
        None => Some(jittered.min(left)),
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date, which counts from `now`.
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

    #[test]
    fn waits_double_and_end() {
        let waits: Vec<_> = (1..=5).map(|n| next_wait(PLAIN, n, ZERO, 1.0).map(|w| w.as_millis())).collect();
        assert_eq!(waits, [Some(500), Some(1000), Some(2000), Some(4000), None]);
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        assert_eq!(next_wait(PLAIN, 2, ZERO, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(next_wait(PLAIN, 2, ZERO, 0.5), Some(Duration::from_millis(750)));
    }

    #[test]
    fn a_name_that_does_not_resolve_is_tried_twice() {
        let dns = Retryable { max_attempts: MAX_ATTEMPTS_UNRESOLVED, after: None };
        assert!(next_wait(dns, 1, ZERO, 0.0).is_some());
        assert_eq!(next_wait(dns, 2, ZERO, 0.0), None);
    }

    #[test]
    fn retry_after_is_kept_to_or_given_up_on() {
        let after = |s| Retryable { after: Some(Duration::from_secs(s)), ..PLAIN };
        assert_eq!(next_wait(after(7), 1, ZERO, 1.0), Some(Duration::from_secs(7)));
        assert_eq!(next_wait(after(0), 1, ZERO, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(next_wait(after(60), 1, ZERO, 1.0), None);
        assert_eq!(next_wait(after(20), 1, Duration::from_secs(15), 1.0), None);
    }

    #[test]
    fn all_waiting_together_is_bounded() {
        assert_eq!(next_wait(PLAIN, 1, MAX_WAITING, 1.0), None);
        let late = next_wait(PLAIN, 4, Duration::from_secs(28), 1.0);
        assert_eq!(late, Some(Duration::from_secs(2)));
    }

    #[test]
    fn reads_retry_after_in_seconds_and_as_a_date() {
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
