//! Real ssh servers for tests, which run as the user who runs the test: OpenSSH, dropbear, and JGit in Apache MINA sshd.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::error::GitServerError;
use crate::other::jgit_over_ssh;
use crate::process::Process;
use crate::repository::Repository;

/// Debian's and Fedora's place; sshd insists on being called by its absolute path.
const SSHD: &str = "/usr/sbin/sshd";

/// Runs dropbear with the home directory `$0` and the host key `$1`. It takes `authorized_keys` from the user's own home
/// only, so another directory is mounted there, in a mount namespace that ends with it.
const DROPBEAR: &str = r#"
    [ "$(id -u)" = 0 ] || set -- "$1" --map-current-user --keep-caps
    key=$1 && shift
    home=$(getent passwd "$(id -un)" | cut -d: -f6)
    exec unshare "$@" --mount sh -c 'mount --bind "$0" "$1" && exec /usr/sbin/dropbear -i -s -r "$2"' "$0" "$home" "$key"
"#;

/// The kinds of keys that server and client have.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// The software of an ssh server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshSoftware {
    /// One `sshd -i` for each connection. `protocol_v2` is whether clients can ask for git's protocol v2, as at all
    /// large hosts; Debian's own settings do not let them.
    OpenSsh {
        /// True if `GIT_PROTOCOL` is accepted.
        protocol_v2: bool,
    },
    /// One `dropbear -i` for each connection. It passes no variables on, so git speaks protocol v0.
    Dropbear,
    /// JGit's `UploadPack` behind Apache MINA sshd. Its host key is of the kind `ecdsa`.
    JGit,
}

/// A running ssh server that lets one key in and runs git on the repositories of this machine. It needs
/// the Debian packages `openssh-server` and `openssh-client`.
pub struct SshServer {
    address: SocketAddr,
    user: String,
    process: Option<Process>,
    directory: tempfile::TempDir,
}

impl SshServer {
    /// Starts an OpenSSH server on a free port of loopback.
    pub fn start(protocol_v2: bool) -> Result<Self, GitServerError> {
        Self::start_software(SshSoftware::OpenSsh { protocol_v2 })
    }

    /// Starts a server of any software on a free port of loopback.
    pub fn start_software(software: SshSoftware) -> Result<Self, GitServerError> {
        let directory = tempfile::Builder::new()
            .prefix("workflow-ssh-server-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen_failed = |source| GitServerError::Listen { address: address.ip(), source };
        let listener = TcpListener::bind(address).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let mut server = Self { address, user: output("id", &["-un"])?, process: None, directory };
        let mut authorized = String::new();
        for kind in KINDS {
            make_key(&server.file(&host_key(kind)), kind)?;
            make_key(&server.client_key(kind), kind)?;
            authorized += &server.read(&format!("client-{kind}.pub"))?;
        }
        server.write("authorized", &authorized)?;
        match software {
            SshSoftware::OpenSsh { protocol_v2 } => {
                server.write("sshd_config", &server.configuration(protocol_v2))?;
                // As root, sshd wants a directory that is only made where it runs as a service.
                let _ = std::fs::create_dir_all("/run/sshd");
                let configuration = server.file("sshd_config");
                thread::spawn(move || {
                    serve(&listener, || {
                        let mut command = Command::new(SSHD);
                        command.args(["-i", "-f"]).arg(&configuration);
                        command
                    });
                });
            }
            SshSoftware::Dropbear => {
                let key = server.file("dropbear-host-key");
                server.prepare_dropbear(&key)?;
                let home = server.file("home");
                thread::spawn(move || {
                    serve(&listener, || {
                        let mut command = Command::new("sh");
                        command.args(["-c", DROPBEAR]).arg(&home).arg(&key);
                        command
                    });
                });
            }
            SshSoftware::JGit => {
                drop(listener);
                let key = server.file(&host_key("ecdsa"));
                let (process, address) = jgit_over_ssh(&key)?;
                (server.address, server.process) = (address, Some(process));
            }
        }
        Ok(server)
    }

    /// Converts the ed25519 host key, and makes a home directory that lets the client's keys in.
    fn prepare_dropbear(&self, key: &Path) -> Result<(), GitServerError> {
        let (from, to) = (self.file(&host_key("ed25519")), key.to_string_lossy());
        output("dropbearconvert", &["openssh", "dropbear", &from.to_string_lossy(), &to])?;
        let ssh = self.file("home/.ssh");
        std::fs::create_dir_all(&ssh).map_err(|source| GitServerError::Write { path: ssh, source })?;
        self.write("home/.ssh/authorized_keys", &self.read("authorized")?)
    }

    /// Appends a line to the configuration of an OpenSSH server, for connections from now on.
    pub fn configure(&self, line: &str) -> Result<(), GitServerError> {
        let configuration = self.read("sshd_config")?;
        self.write("sshd_config", &format!("{configuration}{line}\n"))
    }

    /// Returns the address that it listens on.
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

    /// Returns its name in `known_hosts`.
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
fn serve(listener: &TcpListener, command: impl Fn() -> Command) {
    for stream in listener.incoming().flatten() {
        let Ok(other) = stream.try_clone() else { continue };
        let child = command()
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
