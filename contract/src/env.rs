//! Environment variables: those of init-fetcher, and those of the platform that it receives.

/// URL of the repository; required.
pub const WORKFLOW_GIT_URL: &str = "WORKFLOW_GIT_URL";
/// Branch, else tag, else full commit id; `main` by default.
pub const WORKFLOW_BRANCH: &str = "WORKFLOW_BRANCH";
/// Directory inside the repository; the whole repository by default.
pub const WORKFLOW_PATH: &str = "WORKFLOW_PATH";
/// Directory under which the workflow is published.
pub const WORKFLOW_ROOT: &str = "WORKFLOW_ROOT";
/// Wall-clock limit of the run, such as `90s`.
pub const WORKFLOW_TIMEOUT: &str = "WORKFLOW_TIMEOUT";
/// Limit on bytes received and on bytes written, such as `512Mi`.
pub const WORKFLOW_MAX_BYTES: &str = "WORKFLOW_MAX_BYTES";
/// Limit on the number of files written.
pub const WORKFLOW_MAX_FILES: &str = "WORKFLOW_MAX_FILES";
/// Allowed hosts, comma-separated; empty allows all.
pub const WORKFLOW_ALLOWED_HOSTS: &str = "WORKFLOW_ALLOWED_HOSTS";
/// Allowed schemes, comma-separated.
pub const WORKFLOW_ALLOWED_SCHEMES: &str = "WORKFLOW_ALLOWED_SCHEMES";
/// `none` or `recursive`: whether submodules are fetched.
pub const WORKFLOW_SUBMODULES: &str = "WORKFLOW_SUBMODULES";
/// `skip` or `refuse`: symlinks that are absolute or leave the repository.
pub const WORKFLOW_UNSAFE_LINKS: &str = "WORKFLOW_UNSAFE_LINKS";
/// Keys that must have signed the workflow, as JSON ([`crate::verify::Signers`]); empty demands no signature.
pub const WORKFLOW_SIGNERS: &str = "WORKFLOW_SIGNERS";
/// Directory where a Secret with credentials is mounted.
pub const WORKFLOW_CREDENTIALS_DIR: &str = "WORKFLOW_CREDENTIALS_DIR";
/// Exact hosts that [`GITHUB_TOKEN`] is for.
pub const WORKFLOW_GITHUB_HOSTS: &str = "WORKFLOW_GITHUB_HOSTS";
/// Exact hosts that [`GITLAB_TOKEN`] is for.
pub const WORKFLOW_GITLAB_HOSTS: &str = "WORKFLOW_GITLAB_HOSTS";
/// Time for which a published directory is observed, and published again if another program changes it;
/// `0s` by default.
pub const WORKFLOW_SETTLE: &str = "WORKFLOW_SETTLE";
/// JSON of a [`crate::Stamp`], for the status controller: an ephemeral container has no annotations. init-fetcher
/// ignores it.
pub const WORKFLOW_STAMP: &str = "WORKFLOW_STAMP";
/// File for the termination message.
pub const WORKFLOW_TERMINATION_LOG: &str = "WORKFLOW_TERMINATION_LOG";
/// `text` or `json`.
pub const LOG_FORMAT: &str = "LOG_FORMAT";

/// Token for [`WORKFLOW_GITHUB_HOSTS`].
pub const GITHUB_TOKEN: &str = "GITHUB_TOKEN";
/// Token for [`WORKFLOW_GITLAB_HOSTS`].
pub const GITLAB_TOKEN: &str = "GITLAB_TOKEN";
/// Base URL of the platform's token endpoint.
pub const BACKEND_API_URL: &str = "BACKEND_API_URL";
/// The session's project, part of the token endpoint's path.
pub const PROJECT_NAME: &str = "PROJECT_NAME";
/// The session's name, part of the token endpoint's path.
pub const SESSION_NAME: &str = "SESSION_NAME";
/// Bearer token for the platform's token endpoint.
pub const BOT_TOKEN: &str = "BOT_TOKEN";

/// File of additional CA certificates.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// Directory of additional CA certificates.
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";
/// Proxy variables, upper and lower case.
pub const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];

/// On the runner exactly when its session has a workflow (set by the operator).
pub const ACTIVE_WORKFLOW_GIT_URL: &str = "ACTIVE_WORKFLOW_GIT_URL";
/// The workflow's branch, for the runner.
pub const ACTIVE_WORKFLOW_BRANCH: &str = "ACTIVE_WORKFLOW_BRANCH";
/// The workflow's directory, for the runner; absent when empty.
pub const ACTIVE_WORKFLOW_PATH: &str = "ACTIVE_WORKFLOW_PATH";
/// Set by the operator on a run that is not the session's first; the runner then skips its prompt.
pub const IS_RESUME: &str = "IS_RESUME";

/// Defaults of the variables above.
pub mod default {
    /// [`super::WORKFLOW_BRANCH`].
    pub const BRANCH: &str = "main";
    /// [`super::WORKFLOW_ROOT`].
    pub const ROOT: &str = crate::names::WORKFLOWS_ROOT;
    /// [`super::WORKFLOW_TIMEOUT`].
    pub const TIMEOUT: &str = "120s";
    /// [`super::WORKFLOW_MAX_BYTES`].
    pub const MAX_BYTES: &str = "512Mi";
    /// [`super::WORKFLOW_MAX_FILES`].
    pub const MAX_FILES: u64 = 100_000;
    /// [`super::WORKFLOW_ALLOWED_SCHEMES`].
    pub const ALLOWED_SCHEMES: &str = "https,ssh";
    /// [`super::WORKFLOW_GITHUB_HOSTS`].
    pub const GITHUB_HOSTS: &str = "github.com";
    /// [`super::WORKFLOW_GITLAB_HOSTS`].
    pub const GITLAB_HOSTS: &str = "gitlab.com";
    /// [`super::WORKFLOW_TERMINATION_LOG`].
    pub const TERMINATION_LOG: &str = "/dev/termination-log";
}
