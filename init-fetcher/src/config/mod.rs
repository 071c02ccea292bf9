//! The environment as narrow types: source, policy and limits of a run.
//!
//! Reading is a pure function over a lookup, so that tests need no process environment. Empty counts
//! as unset. A value that cannot be parsed is a mistake in the session or the installation (exit 10); one
//! that is well-formed but not allowed is a matter of policy (exit 11).

pub mod proxy;
mod read;

use std::path::PathBuf;
use std::time::Duration;

use workflow_contract::limits::LimitError;
use workflow_contract::path::PathError;
use workflow_contract::policy::{NotAllowed, PolicyError};
use workflow_contract::reference::RefError;
use workflow_contract::url::UrlError;
use workflow_contract::verify::Require;
use workflow_contract::{Policy, RefName, RepoPath, RepoUrl, Secret, Submodules, UnsafeLinks};

use workflow_signatures::TrustedKeys;

pub use read::{log_format, termination_log};

use proxy::{Proxies, ProxyError};

/// A setting that stops the run before anything is fetched.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No repository is named.
    #[error("WORKFLOW_GIT_URL is not set; it names the repository to fetch")]
    NoUrl,
    /// The URL of the repository is malformed.
    #[error(transparent)]
    Url(UrlError),
    /// A scheme that is never fetched by.
    #[error("{0}")]
    UnsupportedScheme(String),
    /// The branch is malformed.
    #[error(transparent)]
    Reference(#[from] RefError),
    /// The path is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The source is outside the policy.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// A limit is malformed.
    #[error("{name}: {source}")]
    Limit { name: &'static str, source: LimitError },
    /// A list of hosts or schemes is malformed.
    #[error("{name}: {source}")]
    Policy { name: &'static str, source: PolicyError },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// Any other value is malformed.
    #[error("{name}: {why}")]
    Value { name: &'static str, why: String },
}

impl From<UrlError> for ConfigError {
    fn from(error: UrlError) -> Self {
        match error {
            UrlError::Scheme { .. } => Self::UnsupportedScheme(error.to_string()),
            UrlError::Malformed { .. } | UrlError::Page { .. } => Self::Url(error),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time for everything.
    pub timeout: Duration,
    /// Bytes received, and bytes written.
    pub bytes: u64,
    /// Files written; directories are held to the same number.
    pub files: u64,
}

/// Sources of credentials.
#[derive(Debug, Clone)]
pub struct CredentialSettings {
    pub dir: Option<PathBuf>,
    /// Token for `github_hosts`.
    pub github_token: Option<Secret>,
    /// Exact hosts in lower case.
    pub github_hosts: Vec<String>,
    /// Token for `gitlab_hosts`.
    pub gitlab_token: Option<Secret>,
    /// Exact hosts in lower case.
    pub gitlab_hosts: Vec<String>,
    /// The platform's token endpoint, where all of its four variables are set.
    pub endpoint: Option<TokenEndpoint>,
}

/// The platform's token endpoint.
#[derive(Debug, Clone)]
pub struct TokenEndpoint {
    /// URL of the session's credentials, to which `/github` or `/gitlab` is added.
    pub base: String,
    /// Bearer token for it.
    pub token: Secret,
}

/// Files and directories of additional CA certificates.
#[derive(Debug, Clone, Default)]
pub struct TrustSettings {
    /// PEM files; those that do not exist are passed over.
    pub files: Vec<PathBuf>,
    /// Directories of PEM files.
    pub dirs: Vec<PathBuf>,
}

/// The signature that is demanded.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The object that must be signed.
    pub require: Require,
    /// Keys that may have signed it.
    pub keys: TrustedKeys,
}

impl Trust {
    /// Reports whether a signed tag is enough.
    pub fn accepts_tags(&self) -> bool {
        matches!(self.require, Require::Tag | Require::Either)
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub url: RepoUrl,
    /// Branch, tag or commit.
    pub reference: RefName,
    /// Directory in the repository.
    pub path: RepoPath,
    /// Directory to publish under.
    pub root: PathBuf,
    /// Time for which the published directory is observed; zero disables it.
    pub settle: Duration,
    pub limits: Limits,
    /// Hosts and schemes that are allowed.
    pub policy: Policy,
    pub submodules: Submodules,
    pub unsafe_links: UnsafeLinks,
    /// Demanded signature, if any.
    pub signers: Option<Trust>,
    pub credentials: CredentialSettings,
    /// Additional CA certificates.
    pub trust: TrustSettings,
    pub proxies: Proxies,
}

/// A variable's value by its name.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;
