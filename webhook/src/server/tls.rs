//! TLS settings of the HTTPS listener, with or without client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Interval between reads of the client CA file. The kubelet takes up to a minute to project a change.
const POLL: Duration = Duration::from_secs(5);

/// Errors of setting up TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client CA file cannot be read.
    #[error("failed to read the client CA file `{path}`")]
    Read { path: String, source: std::io::Error },
    /// The client CA file contains no usable CA certificate.
    #[error("the client CA file `{path}` contains no usable CA certificate in PEM form: {reason}")]
    Unusable { path: String, reason: String },
    /// rustls rejects the settings.
    #[error("failed to set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// TLS settings, which may be replaced while the server runs.
pub type TlsSettings = Arc<ArcSwap<ServerConfig>>;

/// Returns settings that accept any client. HTTP/1.1 only: API servers use nothing else with webhooks behind a
/// Service.
pub fn tls_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<TlsSettings, TlsError> {
    Ok(Arc::new(ArcSwap::new(config(resolver, None)?)))
}

fn config(
    resolver: Arc<dyn ResolvesServerCert>,
    client_ca: Option<RootCertStore>,
) -> Result<Arc<ServerConfig>, TlsError> {
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
    Ok(Arc::new(config))
}

/// Settings that demand a client certificate of a CA in a file, which is read again when it changes.
pub struct ClientCa {
    path: PathBuf,
    content: Vec<u8>,
    resolver: Arc<dyn ResolvesServerCert>,
    settings: TlsSettings,
}

impl ClientCa {
    pub fn open(path: &Path, resolver: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        let content = read(path)?;
        let current = config(Arc::clone(&resolver), Some(roots(path, &content)?))?;
        Ok(Self { path: path.to_owned(), content, resolver, settings: Arc::new(ArcSwap::new(current)) })
    }

    /// Returns the settings; [`ClientCa::follow`] replaces them in place.
    #[must_use]
    pub fn settings(&self) -> TlsSettings {
        Arc::clone(&self.settings)
    }

    /// Reads the file again, and returns whether it has changed. An unusable file is an error once, and does
    /// not replace the settings.
    pub(super) fn reload(&mut self) -> Result<bool, TlsError> {
        let content = read(&self.path)?;
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        let roots = roots(&self.path, &self.content)?;
        self.settings.store(config(Arc::clone(&self.resolver), Some(roots))?);
        Ok(true)
    }

    /// Reloads the file for ever.
    pub async fn follow(mut self) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => tracing::info!(path = %self.path.display(), "client CA reloaded"),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "rejected new client CA, keeping the current one"
                ),
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.display().to_string(), source })
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let unusable = |reason: String| TlsError::Unusable { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("no certificate found".to_owned())) } else { Ok(roots) }
}
