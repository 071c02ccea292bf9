//! Errors of starting servers and creating repositories.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// A server or a repository that could not be created.
#[derive(Debug, thiserror::Error)]
pub enum GitServerError {
    #[error("failed to listen on {address}")]
    Listen { address: IpAddr, source: io::Error },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to issue the server's certificate")]
    Issue(#[from] rcgen::Error),
    #[error("failed to set up TLS for a proxy")]
    Tls(#[from] rustls::Error),
    /// A proxy before a server that serves TLS itself.
    #[error("a proxy needs a server that speaks plain http, as TLS ends at the proxy")]
    FaultProxyNeedsPlainHttp,
    #[error("failed to run {program}: make setup installs what the tests need")]
    Run { program: &'static str, source: io::Error },
    /// A server that ended at start-up.
    #[error("{program} ended at start-up: {output}")]
    NotServing { program: &'static str, output: String },
    /// A server that is not a Debian package could not be installed.
    #[error("failed to install the git server {name}: {output}")]
    Install {
        /// The server's directory in `tests/git-server`.
        name: &'static str,
        /// The end of what the installation printed.
        output: String,
    },
    #[error("git {command} failed: {output}")]
    Git { command: String, output: String },
    /// A directory rule whose name would need quoting in URLs or in lighttpd's configuration.
    #[error("the directory {directory:?} must be made of lower-case letters, digits and dashes")]
    DirectoryName { directory: String },
}
