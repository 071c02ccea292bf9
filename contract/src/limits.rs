//! Durations, byte counts and counts in settings.

use std::time::Duration;

/// A setting that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("`{0}` is not a duration; write it like `90s`, `2m` or `1m30s`")]
    Duration(String),
    #[error("`{0}` is not a number of bytes; write it like `512Mi` or `1000000`")]
    Bytes(String),
    #[error("`{0}` is not a whole number above zero")]
    Count(String),
}

/// Parses a duration in the form of Go and Kubernetes: numbers with `h`, `m`, `s` or `ms`, such as `1m30s`. Zero is
/// rejected.
///
/// # Errors
/// [`LimitError::Duration`] with the value.
pub fn parse_duration(text: &str) -> Result<Duration, LimitError> {
    let bad = || LimitError::Duration(crate::text::sanitize(text));
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let (unit, factor) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(bad)?;
        rest = &rest[unit.len()..];
        let part = number.checked_mul(factor).ok_or_else(bad)?;
        millis = millis.checked_add(part).ok_or_else(bad)?;
    }
    if millis == 0 {
        return Err(bad());
    }
    Ok(Duration::from_millis(millis))
}

/// Parses a Kubernetes quantity of bytes: a whole number with an optional `Ki`, `Mi`, `Gi`, `Ti` (powers of 1024) or
/// `k`, `M`, `G`, `T` (powers of 1000). Zero is rejected.
///
/// # Errors
/// [`LimitError::Bytes`] with the value.
pub fn parse_bytes(text: &str) -> Result<u64, LimitError> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let bad = || LimitError::Bytes(crate::text::sanitize(text));
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (_, factor) = UNITS.into_iter().find(|(unit, _)| &text[digits..] == *unit).ok_or_else(bad)?;
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

/// Parses a whole number above zero.
///
/// # Errors
/// [`LimitError::Count`] with the value.
pub fn parse_count(text: &str) -> Result<u64, LimitError> {
    text.trim()
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| LimitError::Count(crate::text::sanitize(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations() {
        for (text, seconds) in [("90s", 90.0), ("2m", 120.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h", 3600.0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn rejects_malformed_durations() {
        for text in ["", "0s", "90", "-1s", "1.5s", "s", "1d", "99999999999999999999s", "9999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_byte_counts() {
        for (text, bytes) in
            [("1", 1), ("512Mi", 536_870_912), ("1k", 1000), ("2Gi", 2 << 30), ("3T", 3_000_000_000_000)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn rejects_malformed_byte_counts() {
        for text in ["", "0", "0Mi", "-1", "1.5Mi", "1KB", "Mi", "1 Mi", "99999999999Ti"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_counts_above_zero() {
        assert_eq!(parse_count("100000"), Ok(100_000));
        for text in ["", "0", "-5", "1e3"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
