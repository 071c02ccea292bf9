//! Apache, configured as in the manual page of `git http-backend`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use crate::error::GitServerError;
use crate::git::{self, HERMETIC};
use crate::process::Process;

/// Debian's directory of modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// The number of the message that threads were started, after the sockets were opened. As one process, Apache does not
/// print its usual message.
const READY: &str = "AH02471";

/// Starts Apache as one process, with its files in `directory` and the repositories in `root`.
pub(super) fn start(directory: &Path, root: &Path) -> Result<(Process, SocketAddr), GitServerError> {
    let address = free_address()?;
    let exec_path = git::run(None, &["--exec-path"], b"")?;
    let backend = Path::new(String::from_utf8_lossy(&exec_path).trim()).join("git-http-backend");
    let path = directory.join("apache2.conf");
    std::fs::write(&path, configuration(address, directory, root, &backend))
        .map_err(|source| GitServerError::Write { path: path.clone(), source })?;
    let mut command = Process::command();
    command.args(["apache2", "-X", "-f"]).arg(&path);
    let (process, ()) = Process::start("apache2", command, |line| line.contains(READY).then_some(()))?;
    Ok((process, address))
}

/// An address that was free a moment ago: Debian's Apache takes no socket from its starter.
fn free_address() -> Result<SocketAddr, GitServerError> {
    let address = Ipv4Addr::LOCALHOST.into();
    TcpListener::bind((address, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| GitServerError::Listen { address, source })
}

fn configuration(address: SocketAddr, directory: &Path, root: &Path, backend: &Path) -> String {
    let (directory, root, backend) = (directory.display(), root.display(), backend.display());
    let mut text = String::new();
    for module in ["mpm_event", "authz_core", "alias", "cgi", "env"] {
        let _ = writeln!(text, "LoadModule {module}_module {MODULES}/mod_{module}.so");
    }
    for (name, value) in HERMETIC {
        let _ = writeln!(text, "SetEnv {name} {value}");
    }
    let _ = write!(
        text,
        "Listen {address}\nServerName localhost\nServerRoot {directory}\nDefaultRuntimeDir {directory}\n\
         PidFile {directory}/apache2.pid\nErrorLog /dev/stderr\nLogLevel notice mpm_event:debug\n\
         SetEnv GIT_PROJECT_ROOT {root}\nSetEnv GIT_HTTP_EXPORT_ALL 1\nScriptAlias / {backend}/\n\
         <Location />\n  Require all granted\n</Location>\n",
    );
    text
}
