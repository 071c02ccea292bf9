//! Verification of server certificates: that of webpki, and of certificates that are trusted themselves.
//!
//! webpki accepts no CA certificate as a server's own. `openssl req -x509` makes just that, and OpenSSL, and so git,
//! accepts it once it is trusted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

/// Faults of certificates that webpki does not separate from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("self-signed")]
    SelfSigned,
    /// A CA certificate in place of a server's, signed by another CA.
    #[error("a CA certificate")]
    CaCertificate,
    /// An RSA key that is too short for any signature to be accepted.
    #[error("a key that is too short")]
    ShortKey,
}

#[derive(Debug)]
pub struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    /// Certificates that a server may use as its own.
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Trusts `additional` beside the built-in roots, as CAs and as servers' own certificates. Certificates that cannot
    /// be parsed are ignored.
    ///
    /// # Errors
    /// [`VerifierBuilderError`] if there is no root at all.
    pub fn new(
        additional: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        roots.add_parsable_certificates(built_in.chain(additional.iter().cloned()));
        let chains =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build()?;
        Ok(Self { chains, trusted: additional })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.contains(end_entity) {
            verify_name_and_validity(end_entity, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chains
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| explain(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss).map_err(|error| explain_signature(error, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss).map_err(|error| explain_signature(error, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies all of a certificate but its issuer.
pub fn verify_name_and_validity(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = parse(certificate)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|_| CertificateError::BadEncoding)
}

/// Separates the faults of [`Untrusted`] from others.
pub fn explain(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(fault) = &error else { return error };
    let is_ca = is_ca_used_as_end_entity(fault);
    if !is_ca && *fault != CertificateError::UnknownIssuer {
        return error;
    }
    let Ok(parsed) = parse(certificate) else { return error };
    let fault = if parsed.subject().as_raw() == parsed.issuer().as_raw() {
        Untrusted::SelfSigned
    } else if is_ca {
        Untrusted::CaCertificate
    } else {
        return error;
    };
    CertificateError::Other(OtherError(Arc::new(fault))).into()
}

/// Names the length of a key as the reason why a signature was not accepted.
pub fn explain_signature(error: Error, certificate: &CertificateDer<'_>) -> Error {
    /// Shortest RSA modulus that ring accepts, in bits.
    const MIN_RSA_BITS: usize = 2048;
    let short = parse(certificate).is_ok_and(|parsed| {
        matches!(parsed.public_key().parsed(), Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS)
    });
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) if short => {
            CertificateError::Other(OtherError(Arc::new(Untrusted::ShortKey))).into()
        }
        other => other,
    }
}

/// webpki's own error, which it displays by its name.
fn is_ca_used_as_end_entity(fault: &CertificateError) -> bool {
    matches!(fault, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Seconds of 2020-01-01 and 2030-01-01.
    const YEARS: [u64; 2] = [1_577_836_800, 1_893_456_000];

    /// A self-signed CA certificate for `h`, valid between [`YEARS`].
    fn self_signed() -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new(["h".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(trusted: &[CertificateDer<'static>], name: &'static str, at: u64) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(trusted.to_vec(), &provider).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&self_signed_once(), &[], &name, &[], now).map(drop)
    }

    fn self_signed_once() -> CertificateDer<'static> {
        static ONCE: std::sync::OnceLock<CertificateDer<'static>> = std::sync::OnceLock::new();
        ONCE.get_or_init(self_signed).clone()
    }

    #[test]
    fn verifies_name_and_validity_of_a_trusted_certificate() {
        let trusted = [self_signed_once()];
        let [start, end] = YEARS;
        for (name, at, expected) in [
            ("h", start, None),
            ("h", end, None),
            ("h", start - 1, Some(CertificateError::NotValidYet)),
            ("h", end + 1, Some(CertificateError::Expired)),
        ] {
            assert_eq!(verify(&trusted, name, at).err(), expected.map(Into::into), "{name} {at}");
        }
        let error = verify(&trusted, "other", start).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn names_a_self_signed_certificate_that_is_not_trusted() {
        let Error::InvalidCertificate(CertificateError::Other(other)) =
            verify(&[self_signed()], "h", YEARS[0]).unwrap_err()
        else {
            panic!("another error")
        };
        assert_eq!(other.0.downcast_ref(), Some(&Untrusted::SelfSigned));
    }
}
