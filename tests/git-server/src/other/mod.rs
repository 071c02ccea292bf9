//! Git server software that is not git's own, over plain http on loopback.
//!
//! They differ in capabilities, statuses and messages. `install` beside this crate installs
//! those that are not Debian packages.

mod apache;
mod azure;
mod install;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

pub use azure::AzureLike;
pub use install::jdk_at_hand;

use crate::error::GitServerError;
use crate::process::Process;
use crate::repository::RepositoryBuilder;

/// The software of an [`OtherServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// Apache with `git http-backend`.
    Apache,
    /// dulwich (Python), which klaus and others are built on.
    Dulwich,
    /// go-git v5's server package: protocol v0 without side-band.
    GoGitV5,
    /// go-git v6's backend.
    GoGitV6,
    /// JGit (Java), which Gerrit and others are built on.
    JGit,
}

/// A running server. Dropping it ends the server and removes its repositories.
pub struct OtherServer {
    address: SocketAddr,
    process: Process,
    directory: tempfile::TempDir,
}

impl OtherServer {
    /// Starts a server on a free port of loopback; when this returns, it accepts requests.
    pub fn start(software: Software) -> Result<Self, GitServerError> {
        let directory = tempfile::Builder::new()
            .prefix("workflow-other-server-")
            .tempdir()
            .map_err(|source| GitServerError::Write { path: std::env::temp_dir(), source })?;
        let root = repositories(directory.path());
        std::fs::create_dir(&root).map_err(|source| GitServerError::Write { path: root.clone(), source })?;
        let (process, address) = match software {
            Software::Apache => apache::start(directory.path(), &root)?,
            Software::Dulwich => listening("dulwich", install::command("dulwich")?.arg(&root))?,
            Software::GoGitV5 => listening("go-git-v5", install::command("go-git-v5")?.arg(&root))?,
            Software::GoGitV6 => listening("go-git-v6", install::command("go-git-v6")?.arg(&root))?,
            Software::JGit => listening("jgit", install::command("jgit")?.arg(&root))?,
        };
        Ok(Self { address, process, directory })
    }

    /// The URL of anything below this server; `path` starts without a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Begins a repository that will be served as `/NAME.git`.
    pub fn repository(&self, name: &str) -> RepositoryBuilder {
        let file = format!("{name}.git");
        let path = repositories(self.directory.path()).join(&file);
        RepositoryBuilder::new(self.url(&file), path)
    }

    /// Returns the server's output so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Starts JGit over ssh, with this host key and the repositories of this machine.
pub(crate) fn jgit_over_ssh(host_key: &Path) -> Result<(Process, SocketAddr), GitServerError> {
    listening("jgit", install::command("jgit")?.arg("/").arg(host_key))
}

fn repositories(directory: &Path) -> std::path::PathBuf {
    directory.join("repositories")
}

/// Starts a server that prints `listening ADDRESS`.
fn listening(program: &'static str, command: &mut Command) -> Result<(Process, SocketAddr), GitServerError> {
    let mut owned = Process::command();
    owned.arg(command.get_program()).args(command.get_args());
    Process::start(program, owned, |line| line.strip_prefix("listening ")?.parse().ok())
}
