//! What the admin decides for every session: `config.yaml`, its defaults and its re-reading.
//!
//! ```text
//! config.yaml ──file (as written)──> Config (as meant) ──watch──> what admission reads
//! ```
//!
//! A value that would make pods invalid is refused here, because in a patch it would refuse every
//! session of the cluster. Nothing else of the process is configured here: flags are in `args`.

mod file;
mod value;
mod watch;

use serde_json::{Value, json};
use workflow_contract::env::default;
use workflow_contract::names::CREDENTIALS_SECRET;
use workflow_contract::policy::{HostPattern, Policy};

pub use file::parse;
pub use watch::{Watched, watch};

/// How often the file is looked at. The kubelet itself takes up to a minute to bring a ConfigMap's
/// change, so that seconds are soon enough.
pub const POLL: std::time::Duration = std::time::Duration::from_secs(5);

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a valid configuration; the text names line and column.
    #[error("it is not valid: {0}")]
    Invalid(String),
}

/// The configuration as meant: every value checked, every default in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Image of the init container.
    pub image: String,
    /// `imagePullPolicy` of the init container, the API server's default where absent.
    pub image_pull_policy: Option<String>,
    /// `resources` of the init container, as in a pod.
    pub resources: Value,
    /// `WORKFLOW_TIMEOUT`.
    pub timeout: String,
    /// `WORKFLOW_MAX_BYTES`.
    pub max_bytes: String,
    /// `WORKFLOW_MAX_FILES`.
    pub max_files: String,
    /// `WORKFLOW_ALLOWED_HOSTS` and `WORKFLOW_ALLOWED_SCHEMES`.
    pub policy: Policy,
    /// `WORKFLOW_GITHUB_HOSTS`, comma-separated.
    pub github_hosts: String,
    /// `WORKFLOW_GITLAB_HOSTS`, comma-separated.
    pub gitlab_hosts: String,
    /// Secret with git credentials in the session's namespace; none where the file says `""`.
    pub credentials_secret: Option<String>,
    /// Proxies of the init container; they win over those of the pod.
    pub proxy: Proxy,
    /// `LOG_FORMAT` of the init container.
    pub log_format: String,
}

/// `proxy` in the config file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `HTTP_PROXY`.
    pub http: Option<String>,
    /// `NO_PROXY`.
    pub no: Option<String>,
}

impl Default for Config {
    /// What holds where the file is silent. The image is one that only the node itself can have, so
    /// that an installation that forgot to name one never pulls a stranger's.
    fn default() -> Self {
        Self {
            image: concat!("localhost/init-fetcher:", env!("CARGO_PKG_VERSION")).into(),
            image_pull_policy: None,
            resources: json!({
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": "512Mi"},
            }),
            timeout: default::TIMEOUT.into(),
            max_bytes: default::MAX_BYTES.into(),
            max_files: default::MAX_FILES.to_string(),
            policy: Policy::default(),
            github_hosts: default::GITHUB_HOSTS.into(),
            gitlab_hosts: default::GITLAB_HOSTS.into(),
            credentials_secret: Some(CREDENTIALS_SECRET.into()),
            proxy: Proxy::default(),
            log_format: "text".into(),
        }
    }
}

impl Config {
    /// `WORKFLOW_ALLOWED_HOSTS`, comma-separated; empty allows all.
    #[must_use]
    pub fn allowed_hosts(&self) -> String {
        joined(self.policy.hosts.iter().map(HostPattern::to_string))
    }

    /// `WORKFLOW_ALLOWED_SCHEMES`, comma-separated.
    #[must_use]
    pub fn allowed_schemes(&self) -> String {
        joined(self.policy.schemes.iter().map(ToString::to_string))
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}
