//! Starts lighttpd and ends it, in every way a test can end.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::certificates::{self, Validity};
use crate::error::GitServerError;
use crate::git;
use crate::lighttpd::{Layout, configuration, rule_text};
use crate::process::Process;
use crate::repository::RepositoryBuilder;
use crate::settings::Settings;

/// Hands the listening socket on: lighttpd takes descriptor 3 if LISTEN_PID is its own process id, which only the
/// process itself knows before it starts.
const START: &str = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec lighttpd -D -f "$0" 3<&0 0</dev/null"#;

/// A running git server. Dropping it ends the server and removes its repositories.
pub struct GitServer {
    address: SocketAddr,
    tls: bool,
    ca: String,
    directory: tempfile::TempDir,
    lighttpd: Process,
}

impl GitServer {
    /// Starts a server on a free port; when this returns, it accepts requests.
    pub fn start(settings: &Settings) -> Result<Self, GitServerError> {
        settings.check()?;
        let directory = tempfile::Builder::new()
            .prefix("workflow-git-server-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let listen_failed = |source| GitServerError::Listen { address: settings.address, source };
        let listener = TcpListener::bind((settings.address, 0)).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let ca = write_files(settings, address.port(), directory.path())?;
        let lighttpd = start_lighttpd(listener, &directory.path().join("lighttpd.conf"))?;
        Ok(Self { address, tls: settings.tls, ca, directory, lighttpd })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of anything below this server; `path` starts without a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/{path}", self.address)
    }

    /// The CA certificate that clients must trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// The same as a file, for `SSL_CERT_FILE` or `GIT_SSL_CAINFO`.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Begins a repository that will be served as `/NAME.git`; `name` may have directories (`acme/flow`).
    pub fn repository(&self, name: &str) -> RepositoryBuilder {
        let file = format!("{name}.git");
        let path = self.directory.path().join(Layout::REPOSITORIES).join(&file);
        RepositoryBuilder::new(self.url(&file), path)
    }

    /// Returns the output of lighttpd and git http-backend so far, with reasons of failed requests.
    pub fn log(&self) -> String {
        self.lighttpd.log()
    }
}

/// Writes everything that lighttpd reads below `root`, and gives the CA as PEM.
fn write_files(settings: &Settings, port: u16, root: &Path) -> Result<String, GitServerError> {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::write(&path, text).map_err(|source| GitServerError::Write { path, source })
    };
    for name in [Layout::REPOSITORIES, Layout::SPOOL] {
        let path = root.join(name);
        std::fs::create_dir(&path).map_err(|source| GitServerError::Write { path, source })?;
    }
    let names = vec![settings.address.to_string(), "localhost".to_owned()];
    let issued = certificates::issue(names, Validity::Now)?;
    write("ca.crt", &issued.ca)?;
    write(Layout::CERTIFICATE, &issued.certificate)?;
    write(Layout::KEY, &issued.key)?;
    for (index, (_, rule)) in settings.rules.iter().enumerate() {
        if let Some(name) = Layout::rule_file(index, rule) {
            write(&name, &rule_text(rule))?;
        }
    }
    let exec_path = git::run(None, &["--exec-path"], b"")?;
    let backend = Path::new(String::from_utf8_lossy(&exec_path).trim()).join("git-http-backend");
    let layout = Layout { root, backend: &backend };
    write("lighttpd.conf", &configuration(settings, port, &layout))?;
    Ok(issued.ca)
}

/// Starts lighttpd with `listener` as its socket and waits until it serves.
fn start_lighttpd(listener: TcpListener, configuration: &Path) -> Result<Process, GitServerError> {
    let mut command = Process::command();
    command.args(["sh", "-c", START]).arg(configuration).stdin(Stdio::from(OwnedFd::from(listener)));
    let (process, ()) =
        Process::start("lighttpd", command, |line| line.contains("server started").then_some(()))?;
    Ok(process)
}
