//! An attempt to fetch a repository, and its parts: types only.

use std::path::PathBuf;

use git2::Oid;
use workflow_contract::{RefName, RepoPath, RepoUrl};

use crate::checkout::write::Written;
use crate::config::Config;
use crate::credentials::MountedSecret;
use crate::pack::store::Commit;
use crate::run::Run;
use crate::transport::http::client::Client;
use crate::tree::plan::{Plan, Submodule};

/// One attempt to fetch a repository.
pub struct Attempt<'a, 'c> {
    pub config: &'a Config,
    pub run: &'a Run,
    pub secret: &'a MountedSecret,
    pub client: &'c Client,
    pub source: &'a RepositorySource,
    /// Path of the submodule that is fetched; empty for the repository itself.
    pub prefix: String,
}

/// A repository and the part of it that is delivered.
pub struct RepositorySource {
    pub url: RepoUrl,
    pub reference: RefName,
    /// The commit of a submodule, to which no branch or tag is preferred.
    pub pinned: Option<Oid>,
    pub path: RepoPath,
}

/// Destination of a repository.
pub struct Destination {
    /// The directory that will be published.
    pub top: PathBuf,
    /// Directory of the files, below `top`; empty for `top` itself.
    pub worktree: PathBuf,
    /// The git directory, below `top`; `None` if only files are delivered.
    pub git_dir: Option<PathBuf>,
    pub scratch: PathBuf,
}

/// A repository whose files are written. Those of its submodules are not.
pub struct Fetched {
    pub commit: Commit,
    pub plan: Plan,
    pub written: Written,
    pub submodules: Vec<Resolved>,
    /// Directory within the submodule, if the path leads into one.
    pub directory: RepoPath,
}

/// A submodule with what its repository says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Path below the delivered directory.
    pub path: PathBuf,
    /// Path in the repository.
    pub source: String,
    pub name: String,
    pub url: RepoUrl,
    pub commit: Oid,
}

/// Target of a path.
pub enum Found {
    Tree(Oid),
    /// A submodule, and the directory within it.
    Submodule(Submodule, RepoPath),
}
