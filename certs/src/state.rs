//! What is known of the certificates at one moment; the Secret holds exactly this.
//!
//! ```text
//!  retired*   authorities whose leaves may still be served somewhere
//!  current    the authority that signs; `leaf` is what is served
//!  next?      an authority that clients learn of before anything signed by it is served
//! ```

use jiff::Timestamp;

use crate::facts::{self, FactsError};
use crate::pair::Pair;

/// The certificates at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Signs the leaf.
    pub current: Issued,
    /// What every replica serves.
    pub leaf: Issued,
    /// Will sign once clients had time to learn of it.
    pub next: Option<Next>,
    /// Signed leaves that may still be served.
    pub retired: Vec<Retired>,
}

/// A pair, with what its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Certificate and key.
    pub pair: Pair,
    /// Read from the certificate.
    pub facts: facts::Facts,
}

impl Issued {
    /// Reads the facts of a pair.
    ///
    /// # Errors
    /// [`FactsError`] where the certificate can't be read.
    pub fn new(pair: Pair) -> Result<Self, FactsError> {
        let facts = facts::first(&pair.certificate)?;
        Ok(Self { pair, facts })
    }
}

/// An authority on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The authority.
    pub authority: Issued,
    /// Since when every webhook entry's caBundle holds it.
    pub published: Option<Timestamp>,
}

/// An authority on its way out. Its key is gone: it will sign nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// PEM.
    pub certificate: String,
    /// Its key identifier.
    pub key_id: String,
    /// When the last leaf that it signed expires.
    pub until: Timestamp,
}

impl State {
    /// All authorities that a client must know now, as one PEM bundle: what caBundle is to hold.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.authority.pair.certificate);
        let retired = self.retired.iter().map(|retired| &retired.certificate);
        let all = std::iter::once(&self.current.pair.certificate).chain(next).chain(retired);
        let mut bundle = String::new();
        for pem in all {
            bundle.push_str(pem.trim());
            bundle.push('\n');
        }
        bundle
    }
}
