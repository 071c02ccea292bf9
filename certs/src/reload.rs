//! The certificate that is being served, and how it is replaced without a restart.
//!
//! A handshake takes whatever is in place at that moment; connections that are open keep what they
//! began with. New material replaces the old only once it has been shown to load.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::facts::Facts;
use crate::load::{LoadError, Loaded, load};
use crate::pair::Pair;
use crate::trust::{self, TrustError};

/// Hands each handshake the current certificate.
#[derive(Debug, Default)]
pub struct Resolver {
    current: ArcSwapOption<Loaded>,
}

/// What became of a new pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It is served from now on.
    Replaced,
    /// It was being served already.
    Unchanged,
}

/// Whether handshakes can succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// Nothing was loaded yet; handshakes fail.
    Nothing,
    /// The certificate is over; clients refuse it.
    Expired(Timestamp),
    /// A certificate is served, up to this time.
    Until(Timestamp),
}

impl Resolver {
    /// Serves this pair from the next handshake on.
    ///
    /// # Errors
    /// [`LoadError`]: the pair can't be served, and what was served before still is.
    pub fn swap(&self, pair: &Pair, now: Timestamp) -> Result<Swap, LoadError> {
        let loaded = load(pair, now)?;
        let same = |current: &Arc<Loaded>| current.key.cert == loaded.key.cert;
        if self.current.load().as_ref().is_some_and(same) {
            return Ok(Swap::Unchanged);
        }
        self.current.store(Some(Arc::new(loaded)));
        Ok(Swap::Replaced)
    }

    /// Whether handshakes can succeed at `now` (wall clock).
    #[must_use]
    pub fn serving(&self, now: Timestamp) -> Serving {
        match self.facts() {
            None => Serving::Nothing,
            Some(facts) if now >= facts.not_after => Serving::Expired(facts.not_after),
            Some(facts) => Serving::Until(facts.not_after),
        }
    }

    /// Whether a client that knows only the authorities in `bundle` (PEM) would trust what is served,
    /// under `name` at `now`. Nothing served is nothing to mistrust.
    ///
    /// # Errors
    /// [`TrustError`] says what does not hold.
    pub fn trusted_by(&self, bundle: &str, name: &str, now: Timestamp) -> Result<(), TrustError> {
        match self.current.load().as_ref() {
            None => Ok(()),
            Some(loaded) => trust::trusts_chain(bundle, &loaded.key.cert, name, now),
        }
    }

    /// What the served certificate says about itself.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        self.current.load().as_ref().map(|loaded| loaded.facts.clone())
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
        issue::authority(Validity { not_before, not_after }).unwrap()
    }

    #[test]
    fn a_bad_new_pair_is_refused_while_the_good_one_stays() {
        let (first, second, now) = (pair(), pair(), at("2026-01-01T12:00:00Z"));
        let resolver = Resolver::default();
        assert_eq!(resolver.serving(now), Serving::Nothing);
        assert_eq!(resolver.swap(&first, now), Ok(Swap::Replaced));
        let good = resolver.facts();

        let mixed = Pair { certificate: second.certificate.clone(), key: first.key.clone() };
        assert_eq!(resolver.swap(&mixed, now), Err(LoadError::Mismatch));
        assert_eq!(resolver.facts(), good);

        assert_eq!(resolver.swap(&first, now), Ok(Swap::Unchanged));
        assert_eq!(resolver.swap(&second, now), Ok(Swap::Replaced));
        assert_ne!(resolver.facts(), good);
    }

    #[test]
    fn expiry_is_judged_by_the_wall_clock() {
        let resolver = Resolver::default();
        resolver.swap(&pair(), at("2026-01-01T12:00:00Z")).unwrap();
        let end = at("2026-01-02T00:00:00Z");
        assert_eq!(resolver.serving(at("2026-01-01T23:59:59Z")), Serving::Until(end));
        assert_eq!(resolver.serving(end), Serving::Expired(end));
    }
}
