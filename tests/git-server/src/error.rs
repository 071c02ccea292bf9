//! What can go wrong while a server or a repository is made.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why a git server or one of its repositories could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GitServerError {
    /// The address can't be bound.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address asked for.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the server can't be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The CA or the server's certificate can't be made.
    #[error("failed to issue the server's certificate")]
    Issue(#[from] rcgen::Error),
    /// A front can't serve TLS.
    #[error("failed to set up TLS for a front")]
    Tls(#[from] rustls::Error),
    /// A front was to be put before a server that speaks TLS itself.
    #[error("a front needs a server that speaks plain http, as TLS ends at the front")]
    FrontNeedsPlainHttp,
    /// A program can't be started.
    #[error("failed to run {program}: make setup installs what the tests need")]
    Run {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A server ended instead of serving.
    #[error("{program} ended at start-up: {output}")]
    NotServing {
        /// The server's program.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// A server that is no Debian package can't be installed.
    #[error("failed to install the git server {name}: {output}")]
    Install {
        /// The server's directory in `tests/git-server`.
        name: &'static str,
        /// The end of what the installation printed.
        output: String,
    },
    /// A git command failed.
    #[error("git {command} failed: {output}")]
    Git {
        /// The command's arguments.
        command: String,
        /// What it printed on stderr.
        output: String,
    },
    /// A directory rule names something that can't stand in a URL and in lighttpd's configuration as it is.
    #[error("the directory {directory:?} must be made of lower-case letters, digits and dashes")]
    DirectoryName {
        /// The name asked for.
        directory: String,
    },
}
