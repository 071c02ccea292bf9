//! The certificates of an installation, exactly as the Secret holds them.

use jiff::Timestamp;

use crate::cert::{CertError, CertInfo, Pair};

/// The CA certificates in use, and the serving certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub ca: Issued,
    /// The serving certificate of every replica, signed by `ca`.
    pub serving: Issued,
    /// The CA that replaces `ca` once every client trusts it.
    pub next: Option<NextCa>,
    /// Former CAs of serving certificates that have not expired.
    pub retired: Vec<RetiredCa>,
}

/// A pair and the fields of its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub pair: Pair,
    pub info: CertInfo,
}

impl Issued {
    pub fn new(pair: Pair) -> Result<Self, CertError> {
        let info = CertInfo::from_pem(&pair.certificate)?;
        Ok(Self { pair, info })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextCa {
    pub ca: Issued,
    /// The time since when every webhook entry's caBundle holds it.
    pub published: Option<Timestamp>,
}

/// A CA that signs nothing more; its key is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredCa {
    pub certificate: String,
    pub key_id: String,
    /// When the last serving certificate that it signed expires.
    pub until: Timestamp,
}

impl State {
    /// Returns the bundle of all CA certificates that clients must trust now, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.ca.pair.certificate);
        let retired = self.retired.iter().map(|retired| &retired.certificate);
        let all = std::iter::once(&self.ca.pair.certificate).chain(next).chain(retired);
        all.fold(String::new(), |bundle, pem| bundle + pem.trim() + "\n")
    }
}
