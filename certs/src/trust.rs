//! Whether a client that knows only a bundle of authorities trusts a server certificate: the same
//! judgement that the API server makes with a webhook's caBundle, made before it is asked.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::facts::{self, FactsError};

/// Why a certificate would not be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The bundle can't be read.
    #[error("the authorities can't be read")]
    Bundle(#[source] FactsError),
    /// The server certificate can't be read.
    #[error("the server certificate can't be read")]
    Certificate(#[source] FactsError),
    /// No authority of the bundle can be used.
    #[error("none of the authorities can be used: {0}")]
    Authorities(String),
    /// No DNS name.
    #[error("`{0}` is not a DNS name")]
    Name(String),
    /// The certificate does not hold: issuer, name or time.
    #[error("{0}")]
    Refused(String),
}

/// Whether the first certificate in `chain` (PEM) is trusted for `name` at `now` by a client that
/// knows the authorities in `bundle` (PEM).
///
/// # Errors
/// [`TrustError`] says which of them does not hold.
pub fn trusts(bundle: &str, chain: &str, name: &str, now: Timestamp) -> Result<(), TrustError> {
    let chain = facts::certificates(chain).map_err(TrustError::Certificate)?;
    trusts_chain(bundle, &chain, name, now)
}

/// As [`trusts`], for a chain that has been read.
///
/// # Errors
/// As [`trusts`].
pub fn trusts_chain(
    bundle: &str,
    chain: &[CertificateDer<'_>],
    name: &str,
    now: Timestamp,
) -> Result<(), TrustError> {
    let mut roots = RootCertStore::empty();
    for authority in facts::certificates(bundle).map_err(TrustError::Bundle)? {
        roots.add(authority).map_err(|error| TrustError::Authorities(error.to_string()))?;
    }
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(TrustError::Certificate(FactsError::Missing));
    };
    let server = ServerName::try_from(name.to_owned()).map_err(|_| TrustError::Name(name.to_owned()))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TrustError::Authorities(error.to_string()))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, intermediates, &server, &[], time) {
        Ok(_) => Ok(()),
        Err(error) => Err(TrustError::Refused(error.to_string())),
    }
}
