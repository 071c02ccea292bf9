//! A proxy for a git server that causes faults at a named phase: broken or stalled connections, corrupted responses, bad
//! certificates. The server behind it is real.
//!
//! TLS ends here, so the server behind must speak plain HTTP ([`Settings::plain_http`](crate::Settings::plain_http)).

mod connection;
mod fault;
mod http;
mod shared;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::{self, Validity};
use crate::error::GitServerError;
use crate::server::GitServer;
use crate::settings::Settings;

pub use fault::{Fault, FaultPosition, Phase, When};
use shared::{Rule, Shared};

/// Certificate of a [`FaultProxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// No TLS.
    None,
    /// A valid certificate.
    Good,
    /// One that has expired.
    Expired,
    /// One that is for another name.
    OtherName,
}

/// A running proxy. Dropping it ends it; connections that are open end with their clients.
pub struct FaultProxy {
    address: SocketAddr,
    ca: PathBuf,
    shared: Arc<Shared>,
    _directory: tempfile::TempDir,
}

impl FaultProxy {
    /// Starts a proxy before `server`, with these faults; of those that fit, the first happens.
    pub fn start(
        server: &GitServer,
        certificate: Certificate,
        faults: Vec<(Phase, When, Fault)>,
    ) -> Result<Self, GitServerError> {
        if server.url("").starts_with("https") {
            return Err(GitServerError::FaultProxyNeedsPlainHttp);
        }
        let ip = server.address().ip();
        let listen_failed = |source| GitServerError::Listen { address: ip, source };
        let listener = TcpListener::bind((ip, 0)).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let directory = tempfile::Builder::new()
            .prefix("workflow-git-proxy-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let ca = directory.path().join("ca.crt");
        let tls = tls(certificate, address, &ca)?;
        let rules = faults
            .into_iter()
            .map(|(phase, when, fault)| Rule { phase, when, fault, met: AtomicU32::new(0) })
            .collect();
        let shared = Arc::new(Shared {
            server: server.address(),
            tls,
            rules,
            requests: Mutex::default(),
            faults: Mutex::default(),
            fault_happened: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || connection::serve(&shared, &client));
            }
        });
        Ok(Self { address, ca, shared, _directory: directory })
    }

    /// Starts a proxy before a server of its own.
    pub fn with_own_server(
        certificate: Certificate,
        faults: Vec<(Phase, When, Fault)>,
    ) -> Result<(GitServer, Self), GitServerError> {
        let server = GitServer::start(&Settings::default().plain_http())?;
        let proxy = Self::start(&server, certificate, faults)?;
        Ok((server, proxy))
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of something of the server's through this proxy.
    pub fn url(&self, of_server: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        let path = of_server.splitn(4, '/').nth(3).unwrap_or_default();
        format!("{scheme}://{}/{path}", self.address)
    }

    /// Returns the file of the CA certificate that clients must trust.
    pub fn ca_file(&self) -> &PathBuf {
        &self.ca
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of faults so far.
    pub fn faults(&self) -> u32 {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this many faults have happened: with [`Fault::Stall`] a client is then held at that point. False
    /// where that takes more than a minute.
    #[must_use]
    pub fn wait_for_faults(&self, number: u32) -> bool {
        const LIMIT: Duration = Duration::from_mins(1);
        let faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.fault_happened.wait_timeout_while(faults, LIMIT, |faults| *faults < number);
        waited.is_ok_and(|(_, waited)| !waited.timed_out())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; where that fails it has ended already.
        let _ = TcpStream::connect(self.address);
    }
}

fn tls(
    certificate: Certificate,
    address: SocketAddr,
    ca: &PathBuf,
) -> Result<Option<Arc<ServerConfig>>, GitServerError> {
    let (names, validity) = match certificate {
        Certificate::None => return Ok(None),
        Certificate::Good => (vec![address.ip().to_string(), "localhost".into()], Validity::Now),
        Certificate::Expired => (vec![address.ip().to_string(), "localhost".into()], Validity::Past),
        Certificate::OtherName => (vec!["elsewhere.example".into()], Validity::Now),
    };
    let issued = certificates::issue(names, validity)?;
    std::fs::write(ca, &issued.ca).map_err(|source| GitServerError::Write { path: ca.clone(), source })?;
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())
        .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Some(Arc::new(config)))
}
