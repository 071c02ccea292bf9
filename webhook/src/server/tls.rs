//! TLS settings of the HTTPS listener, with or without client certificates.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::reload::{ReloadError, ReloadedFile};

/// Errors of setting up TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the client CA file contains no usable CA certificate in PEM form: {0}")]
    ClientCa(String),
    #[error("failed to set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// TLS settings, which may be replaced while the server runs.
pub type TlsSettings = Arc<ArcSwap<ServerConfig>>;

/// Returns settings that accept any client. HTTP/1.1 only: API servers use nothing else with webhooks behind a
/// Service.
pub fn tls_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<TlsSettings, TlsError> {
    Ok(Arc::new(ArcSwap::from_pointee(config(resolver, None)?)))
}

fn config(
    resolver: Arc<dyn ResolvesServerCert>,
    client_ca: Option<RootCertStore>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| rustls::Error::General(error.to_string()))?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Opens a file of CA certificates; the settings require a client certificate of one of them.
pub fn open_client_ca(
    path: &Path,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ReloadedFile<ServerConfig, TlsError>, ReloadError<TlsError>> {
    ReloadedFile::open(path, move |content| config(Arc::clone(&resolver), Some(roots(content)?)))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let unusable = |reason: String| TlsError::ClientCa(reason);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("no certificate found".to_owned())) } else { Ok(roots) }
}
