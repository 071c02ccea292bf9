//! A real OpenSSH server for tests: one `sshd -i` for each connection, as whoever runs the test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::error::GitServerError;
use crate::repository::Repository;

/// Debian's and Fedora's place; sshd insists on being called by its absolute path.
const SSHD: &str = "/usr/sbin/sshd";

/// The kinds of keys that server and client have.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// A running ssh server that lets one key in and runs git on the repositories of this machine. It needs
/// the Debian packages `openssh-server` and `openssh-client`.
pub struct SshServer {
    address: SocketAddr,
    user: String,
    directory: tempfile::TempDir,
}

impl SshServer {
    /// Starts a server on a free port of loopback. `protocol_v2` is whether it lets clients ask for git's
    /// protocol v2, as all large hosts do and Debian's own settings do not.
    pub fn start(protocol_v2: bool) -> Result<Self, GitServerError> {
        let directory = tempfile::Builder::new()
            .prefix("workflow-ssh-server-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen_failed = |source| GitServerError::Listen { address: address.ip(), source };
        let listener = TcpListener::bind(address).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let server = Self { address, user: output("id", &["-un"])?, directory };
        let mut authorized = String::new();
        for kind in KINDS {
            make_key(&server.file(&host_key(kind)), kind)?;
            make_key(&server.client_key(kind), kind)?;
            authorized += &server.read(&format!("client-{kind}.pub"))?;
        }
        server.write("authorized", &authorized)?;
        let configuration = server.file("sshd_config");
        server.write("sshd_config", &server.configuration(protocol_v2))?;
        // As root, sshd wants a directory that is only made where it runs as a service.
        let _ = std::fs::create_dir_all("/run/sshd");
        thread::spawn(move || serve(&listener, &configuration));
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a repository of this machine, `ssh://USER@ADDRESS/PATH`.
    pub fn url(&self, repository: &Repository) -> String {
        format!("ssh://{}@{}{}", self.user, self.address, repository.path().display())
    }

    /// The file of the private key that is let in: `ed25519`, `ecdsa` or `rsa`.
    pub fn client_key(&self, kind: &str) -> PathBuf {
        self.file(&format!("client-{kind}"))
    }

    /// What `known_hosts` calls it.
    pub fn host(&self) -> String {
        format!("[{}]:{}", self.address.ip(), self.address.port())
    }

    /// The line of `known_hosts` for the server's key: `ed25519`, `ecdsa` or `rsa`.
    pub fn known_hosts(&self, kind: &str) -> Result<String, GitServerError> {
        Ok(format!("{} {}", self.host(), self.read(&format!("{}.pub", host_key(kind)))?))
    }

    fn configuration(&self, protocol_v2: bool) -> String {
        let keys = KINDS.map(|kind| format!("HostKey {}\n", self.file(&host_key(kind)).display())).concat();
        let accept = if protocol_v2 { "AcceptEnv GIT_PROTOCOL\n" } else { "" };
        format!(
            "{keys}AuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nLogLevel QUIET\n\
             SetEnv GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null\n{accept}",
            self.file("authorized").display(),
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String, GitServerError> {
        let path = self.file(name);
        std::fs::read_to_string(&path).map_err(|source| GitServerError::Write { path, source })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), GitServerError> {
        let path = self.file(name);
        std::fs::write(&path, text).map_err(|source| GitServerError::Write { path, source })
    }
}

/// Hands each connection to a server of its own, which ends with it. Lasts as long as the process.
fn serve(listener: &TcpListener, configuration: &Path) {
    for stream in listener.incoming().flatten() {
        let Ok(other) = stream.try_clone() else { continue };
        let child = Command::new(SSHD)
            .args(["-i", "-f"])
            .arg(configuration)
            .stdin(Stdio::from(OwnedFd::from(stream)))
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(Stdio::null())
            .spawn();
        if let Ok(mut child) = child {
            thread::spawn(move || child.wait());
        }
    }
}

fn host_key(kind: &str) -> String {
    format!("host-{kind}")
}

fn make_key(path: &Path, kind: &str) -> Result<(), GitServerError> {
    let path = path.to_string_lossy();
    // As small as servers take them: they are made in each test.
    let bits = if kind == "rsa" { "2048" } else { "256" };
    output("ssh-keygen", &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f", &path]).map(drop)
}

fn output(program: &'static str, args: &[&str]) -> Result<String, GitServerError> {
    let failed = |source| GitServerError::Run { program, source };
    let output = Command::new(program).args(args).output().map_err(failed)?;
    if !output.status.success() {
        return Err(failed(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
