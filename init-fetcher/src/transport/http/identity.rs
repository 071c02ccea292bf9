//! A client certificate for one host.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::default_provider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::trust;
use crate::credentials::ClientCertificate;

/// A client certificate with its key, for one host.
#[derive(Debug)]
pub struct ClientIdentity {
    pub host: String,
    key: CertifiedKey,
}

impl ClientIdentity {
    /// Parses PEM.
    ///
    /// # Errors
    /// The reason why the pair cannot be used.
    pub fn parse(host: &str, pem: &ClientCertificate) -> Result<Self, &'static str> {
        let chain = trust::parse(pem.certificate.as_bytes());
        if chain.is_empty() {
            return Err("tls.crt contains no PEM certificate");
        }
        let key = PrivateKeyDer::from_pem_slice(pem.key.expose().as_bytes())
            .map_err(|_| "tls.key contains no unencrypted PEM private key")?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "tls.key is not the private key of tls.crt",
            _ => {
                "tls.key is of a kind that is not supported; it must be RSA, ECDSA P-256 or P-384, or Ed25519"
            }
        })?;
        Ok(Self { host: host.to_owned(), key })
    }

    /// Returns what rustls presents to servers that request a certificate.
    pub fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }
}
