//! The serving certificate of this replica, replaced without a restart.
//!
//! A handshake uses the certificate of that moment; open connections keep theirs.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::cert::{CertError, CertInfo, LoadedPair, Pair, load};
use crate::verify::{self, VerifyError};

/// Returns the current certificate for each handshake.
#[derive(Debug, Default)]
pub struct Resolver {
    current: ArcSwapOption<LoadedPair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    Replaced,
    Unchanged,
}

/// The state of the served certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// No certificate was loaded yet.
    Nothing,
    /// Clients reject the certificate, as it is expired or not valid yet.
    Invalid(CertError),
    /// The certificate is valid up to this time.
    Until(Timestamp),
}

impl Resolver {
    /// Serves this pair from the next handshake on; on an error the current one stays.
    pub fn swap(&self, pair: &Pair, now: Timestamp) -> Result<Swap, CertError> {
        let loaded = load(pair, now)?;
        let same = |current: &Arc<LoadedPair>| current.key.cert == loaded.key.cert;
        if self.current.load().as_ref().is_some_and(same) {
            return Ok(Swap::Unchanged);
        }
        self.current.store(Some(Arc::new(loaded)));
        Ok(Swap::Replaced)
    }

    #[must_use]
    pub fn serving(&self, now: Timestamp) -> Serving {
        match self.info() {
            None => Serving::Nothing,
            Some(info) => match info.check_time(now) {
                Ok(()) => Serving::Until(info.not_after),
                Err(error) => Serving::Invalid(error),
            },
        }
    }

    /// Verifies the current certificate, if there is one, against the CA certificates in `bundle` (PEM).
    pub fn verify(&self, bundle: &str, name: &str, now: Timestamp) -> Result<(), VerifyError> {
        match self.current.load().as_ref() {
            None => Ok(()),
            Some(loaded) => verify::verify_chain(bundle, &loaded.key.cert, name, now),
        }
    }

    /// The current certificate.
    #[must_use]
    pub fn info(&self) -> Option<CertInfo> {
        self.current.load().as_ref().map(|loaded| loaded.info.clone())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|loaded| Arc::clone(&loaded.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{self, Validity};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn pair() -> Pair {
        let (not_before, not_after) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        issue::ca(Validity { not_before, not_after }).unwrap()
    }

    #[test]
    fn rejects_a_bad_new_pair_and_keeps_the_good_one() {
        let (first, second, now) = (pair(), pair(), at("2026-01-01T12:00:00Z"));
        let resolver = Resolver::default();
        assert_eq!(resolver.serving(now), Serving::Nothing);
        assert_eq!(resolver.swap(&first, now), Ok(Swap::Replaced));
        let good = resolver.info();

        let mixed = Pair { certificate: second.certificate.clone(), key: first.key.clone() };
        assert_eq!(resolver.swap(&mixed, now), Err(CertError::Mismatch));
        assert_eq!(resolver.info(), good);

        assert_eq!(resolver.swap(&first, now), Ok(Swap::Unchanged));
        assert_eq!(resolver.swap(&second, now), Ok(Swap::Replaced));
        assert_ne!(resolver.info(), good);
    }

    #[test]
    fn validity_follows_the_clock_also_backwards() {
        let resolver = Resolver::default();
        resolver.swap(&pair(), at("2026-01-01T12:00:00Z")).unwrap();
        let (start, end) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        assert_eq!(resolver.serving(at("2026-01-01T23:59:59Z")), Serving::Until(end));
        assert_eq!(resolver.serving(end), Serving::Invalid(CertError::Expired(end)));
        let earlier = at("2025-12-31T23:59:59Z");
        assert_eq!(resolver.serving(earlier), Serving::Invalid(CertError::NotYetValid(start)));
    }
}
