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

/// A running ssh server that lets one key in and runs git on the repositories of this machine. It needs
/// the Debian packages `openssh-server` and `openssh-client`.
pub struct SshServer {
    address: SocketAddr,
    user: String,
    folder: tempfile::TempDir,
}

impl SshServer {
    /// Starts a server on a free port of loopback. `protocol_v2` is whether it lets clients ask for git's
    /// protocol v2, as all large hosts do and Debian's own settings do not.
    pub fn start(protocol_v2: bool) -> Result<Self, GitServerError> {
        let folder = tempfile::Builder::new()
            .prefix("workflow-ssh-server-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen_failed = |source| GitServerError::Listen { address: address.ip(), source };
        let listener = TcpListener::bind(address).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        for (name, kind) in
            [("host", "ed25519"), ("host-rsa", "rsa"), ("client", "ed25519"), ("client-rsa", "rsa")]
        {
            make_key(&folder.path().join(name), kind)?;
        }
        let server = Self { address, user: output("id", &["-un"])?, folder };
        server.write("authorized", &(server.read("client.pub")? + &server.read("client-rsa.pub")?))?;
        let configuration = server.file("sshd_config");
        server.write("sshd_config", &server.configuration(protocol_v2))?;
        // As root, sshd wants a folder that is only made where it runs as a service.
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

    /// The file of the private key that is let in: `ed25519` or `rsa`.
    pub fn client_key(&self, kind: &str) -> PathBuf {
        self.file(if kind == "rsa" { "client-rsa" } else { "client" })
    }

    /// The line of `known_hosts` for the server's key: `ed25519` or `rsa`.
    pub fn known_hosts(&self, kind: &str) -> Result<String, GitServerError> {
        let key = self.read(if kind == "rsa" { "host-rsa.pub" } else { "host.pub" })?;
        Ok(format!("[{}]:{} {key}", self.address.ip(), self.address.port()))
    }

    fn configuration(&self, protocol_v2: bool) -> String {
        let file = |name| self.file(name).display().to_string();
        let accept = if protocol_v2 { "AcceptEnv GIT_PROTOCOL\n" } else { "" };
        format!(
            "HostKey {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nLogLevel QUIET\n{accept}",
            file("host"),
            file("host-rsa"),
            file("authorized"),
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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

fn make_key(path: &Path, kind: &str) -> Result<(), GitServerError> {
    let path = path.to_string_lossy();
    output("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "", "-f", &path]).map(drop)
}

fn output(program: &'static str, args: &[&str]) -> Result<String, GitServerError> {
    let failed = |source| GitServerError::Run { program, source };
    let output = Command::new(program).args(args).output().map_err(failed)?;
    if !output.status.success() {
        return Err(failed(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
