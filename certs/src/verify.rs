//! Verifies a serving certificate as the API server does with a webhook's caBundle.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::cert::{CertError, CertInfo, parse_bundle};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the CA bundle can't be read")]
    Bundle(#[source] CertError),
    #[error("no CA certificate of the bundle is valid now: {0}")]
    NoValidCa(CertError),
    #[error("the serving certificate can't be read")]
    Certificate(#[source] CertError),
    #[error("the CA bundle can't be used: {0}")]
    Ca(String),
    #[error("`{0}` is not a DNS name")]
    Name(String),
    /// Issuer, name or validity.
    #[error("{0}")]
    Rejected(String),
}

/// Verifies the first certificate of `chain` for `name` at `now` against the CA certificates in `bundle`, both PEM.
pub fn verify(bundle: &str, chain: &str, name: &str, now: Timestamp) -> Result<(), VerifyError> {
    let chain = parse_bundle(chain).map_err(VerifyError::Certificate)?;
    verify_chain(bundle, &chain, name, now)
}

/// Verifies a chain in DER; see [`verify`].
pub fn verify_chain(
    bundle: &str,
    chain: &[CertificateDer<'_>],
    name: &str,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let Some((serving, intermediates)) = chain.split_first() else {
        return Err(VerifyError::Certificate(CertError::Missing));
    };
    let server = ServerName::try_from(name.to_owned()).map_err(|_| VerifyError::Name(name.to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(bundle, now)?), provider)
        .build()
        .map_err(|error| VerifyError::Ca(error.to_string()))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verifier.verify_server_cert(serving, intermediates, &server, &[], time) {
        Ok(_) => Ok(()),
        Err(error) => Err(VerifyError::Rejected(error.to_string())),
    }
}

/// The CA certificates that are valid at `now`: unlike webpki, the API server checks the validity of a root, too.
fn roots(bundle: &str, now: Timestamp) -> Result<RootCertStore, VerifyError> {
    let (mut roots, mut invalid) = (RootCertStore::empty(), None);
    for ca in parse_bundle(bundle).map_err(VerifyError::Bundle)? {
        match CertInfo::from_der(&ca).map_err(VerifyError::Bundle)?.check_time(now) {
            Ok(()) => roots.add(ca).map_err(|error| VerifyError::Ca(error.to_string()))?,
            Err(error) => invalid = Some(error),
        }
    }
    match invalid {
        Some(error) if roots.is_empty() => Err(VerifyError::NoValidCa(error)),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{self, Validity};

    #[test]
    fn a_ca_outside_its_validity_is_not_trusted() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (early, from, until) =
            (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z"));
        let ca = issue::ca(Validity { not_before: from, not_after: until }).unwrap();
        let long = Validity { not_before: early, not_after: at("2027-01-01T00:00:00Z") };
        let serving = issue::serving(&ca, &["localhost".to_owned()], long).unwrap();
        let at = |now| verify(&ca.certificate, &serving.certificate, "localhost", now);
        assert_eq!(at(early), Err(VerifyError::NoValidCa(CertError::NotYetValid(from))));
        assert_eq!(at(from), Ok(()));
        assert_eq!(at(until), Err(VerifyError::NoValidCa(CertError::Expired(until))));
    }
}
