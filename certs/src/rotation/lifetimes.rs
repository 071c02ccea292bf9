//! Lifetimes of certificates, and the rule by which a rotation can finish in time.

use std::time::Duration;

use jiff::SignedDuration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub ca: SignedDuration,
    pub serving: SignedDuration,
    /// Time for which a new CA is in every caBundle before it signs the serving certificate: the slowest API server must
    /// have observed the change.
    pub settle: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            ca: SignedDuration::from_hours(365 * 24),
            serving: SignedDuration::from_hours(30 * 24),
            settle: SignedDuration::from_secs(60),
        }
    }
}

/// A reason why a rotation can't succeed under these lifetimes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesError {
    #[error(
        "the lifetimes of CA and serving certificate must be longer than two seconds, the settle time not negative"
    )]
    NotPositive,
    #[error(
        "a third of the CA's lifetime must exceed the settle time plus a third of the serving certificate's lifetime, \
         or the old CA expires before the new one is trusted everywhere"
    )]
    CaTooShort,
    #[error("a lifetime may be a hundred years at most")]
    TooLong,
}

/// Keeps times far from where they overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);
const SHORTEST: SignedDuration = SignedDuration::from_secs(2);

impl Lifetimes {
    /// Converts and checks lifetimes given by a user.
    pub fn new(ca: Duration, serving: Duration, settle: Duration) -> Result<Self, LifetimesError> {
        let signed = |lifetime| SignedDuration::try_from(lifetime).map_err(|_| LifetimesError::TooLong);
        Self { ca: signed(ca)?, serving: signed(serving)?, settle: signed(settle)? }.checked()
    }

    /// Checks that a rotation can finish before the old CA expires.
    pub fn checked(self) -> Result<Self, LifetimesError> {
        if self.serving <= SHORTEST || self.ca <= SHORTEST || self.settle.is_negative() {
            return Err(LifetimesError::NotPositive);
        }
        if [self.serving, self.ca, self.settle].iter().any(|lifetime| *lifetime > LONGEST) {
            return Err(LifetimesError::TooLong);
        }
        if self.ca / 3 <= self.settle + self.serving / 3 {
            return Err(LifetimesError::CaTooShort);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_lifetimes_under_which_no_rotation_can_finish() {
        let seconds = SignedDuration::from_secs;
        let lifetimes = |ca: i64, serving: i64, settle: i64| {
            Lifetimes { ca: seconds(ca), serving: seconds(serving), settle: seconds(settle) }.checked()
        };
        assert!(Lifetimes::default().checked().is_ok());
        assert!(lifetimes(20, 4, 3).is_ok());
        assert_eq!(lifetimes(20, 4, 6), Err(LifetimesError::CaTooShort));
        assert_eq!(lifetimes(20, 2, 1), Err(LifetimesError::NotPositive));
        assert_eq!(lifetimes(20, 4, -1), Err(LifetimesError::NotPositive));
    }
}
