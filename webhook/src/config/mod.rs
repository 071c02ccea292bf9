//! The cluster admin's settings: `config.yaml` and its defaults.
//!
//! A value that would make pods invalid is rejected, because the patch would then deny every session of
//! the cluster. Command line flags are in `args`.

mod file;
mod types;
mod verify;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use workflow_contract::env::default;
use workflow_contract::names::CREDENTIALS_SECRET;
use workflow_contract::policy::{HostPattern, Policy};
use workflow_contract::verify::{Require, Signers, VerifyRule, first_match};
use workflow_contract::{LogFormat, Scheme, Submodules, UnsafeLinks};
use workflow_signatures::TrustedKeys;

use crate::reload::{ReloadError, ReloadedFile};

pub use file::parse;

/// An invalid configuration; the text names line and column.
#[derive(Debug, thiserror::Error)]
#[error("it is not valid: {0}")]
pub struct ConfigError(String);

pub type ConfigFile = ReloadedFile<Config, ConfigError>;

pub fn open(path: &Path) -> Result<ConfigFile, ReloadError<ConfigError>> {
    ReloadedFile::open(path, |content| {
        let text = str::from_utf8(content).map_err(|_| ConfigError("it is not UTF-8 text".to_owned()))?;
        let config = parse(text)?;
        for warning in config.key_warnings(jiff::Timestamp::now().as_second()) {
            tracing::warn!(warning, "config file lists a key that counts no more");
        }
        Ok(config)
    })
}

/// The configuration with every value checked and every default in place. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Image of the init container.
    #[serde(deserialize_with = "types::image")]
    pub image: String,
    /// `imagePullPolicy` of the init container; the API server's default if absent.
    #[serde(deserialize_with = "types::pull_policy")]
    pub image_pull_policy: Option<String>,
    /// Secrets that are added to the pod's `imagePullSecrets`.
    #[serde(deserialize_with = "types::secret_names")]
    pub image_pull_secrets: Vec<String>,
    /// `resources` of the init container, as in a pod.
    #[serde(deserialize_with = "types::resources")]
    pub resources: Value,
    /// `WORKFLOW_TIMEOUT`.
    #[serde(deserialize_with = "types::duration")]
    pub timeout: String,
    /// `WORKFLOW_MAX_BYTES`.
    #[serde(deserialize_with = "types::bytes")]
    pub max_bytes: String,
    /// `WORKFLOW_MAX_FILES`.
    #[serde(deserialize_with = "types::count")]
    pub max_files: String,
    /// `WORKFLOW_ALLOWED_HOSTS`; empty allows all.
    #[serde(deserialize_with = "types::host_patterns")]
    pub allowed_hosts: Vec<HostPattern>,
    /// `WORKFLOW_ALLOWED_SCHEMES`.
    #[serde(deserialize_with = "types::schemes")]
    pub allowed_schemes: Vec<Scheme>,
    /// `WORKFLOW_SUBMODULES`.
    #[serde(deserialize_with = "types::submodules")]
    pub submodules: Submodules,
    /// `WORKFLOW_UNSAFE_LINKS`.
    #[serde(deserialize_with = "types::unsafe_links")]
    pub unsafe_links: UnsafeLinks,
    /// Rules for `WORKFLOW_SIGNERS`.
    #[serde(deserialize_with = "verify::rules")]
    pub verify: Vec<VerifyRule>,
    /// `WORKFLOW_GITHUB_HOSTS`, comma-separated.
    #[serde(deserialize_with = "types::exact_hosts")]
    pub github_hosts: String,
    /// `WORKFLOW_GITLAB_HOSTS`, comma-separated.
    #[serde(deserialize_with = "types::exact_hosts")]
    pub gitlab_hosts: String,
    /// Secret with git credentials in the session's namespace; none if it is `""` in the file.
    #[serde(deserialize_with = "types::secret_name")]
    pub credentials_secret: Option<String>,
    /// Proxies of the init container; they win over those of the pod.
    #[serde(deserialize_with = "types::proxy")]
    pub proxy: Proxy,
    /// True if a workflow that changes in a running session is delivered by an ephemeral container.
    pub live_delivery: bool,
    /// `LOG_FORMAT` of the init container.
    #[serde(deserialize_with = "types::log_format")]
    pub log_format: LogFormat,
}

/// `proxy` in config.yaml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// `HTTPS_PROXY`.
    #[serde(deserialize_with = "types::proxy_url")]
    pub https: Option<String>,
    /// `HTTP_PROXY`.
    #[serde(deserialize_with = "types::proxy_url")]
    pub http: Option<String>,
    /// `NO_PROXY`.
    #[serde(deserialize_with = "types::no_proxy")]
    pub no: Option<String>,
}

impl Default for Config {
    /// The default image exists on no registry, so that an installation without `image` pulls nothing of
    /// a third party.
    fn default() -> Self {
        let Policy { hosts, schemes } = Policy::default();
        Self {
            image: concat!("localhost/init-fetcher:", env!("CARGO_PKG_VERSION")).into(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            resources: default_resources(),
            timeout: default::TIMEOUT.into(),
            max_bytes: default::MAX_BYTES.into(),
            max_files: default::MAX_FILES.to_string(),
            allowed_hosts: hosts,
            allowed_schemes: schemes,
            submodules: Submodules::default(),
            unsafe_links: UnsafeLinks::default(),
            verify: Vec::new(),
            github_hosts: default::GITHUB_HOSTS.into(),
            gitlab_hosts: default::GITLAB_HOSTS.into(),
            credentials_secret: Some(CREDENTIALS_SECRET.into()),
            proxy: Proxy::default(),
            live_delivery: false,
            log_format: LogFormat::default(),
        }
    }
}

fn default_resources() -> Value {
    json!({
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    })
}

impl Config {
    /// Returns hosts and schemes as the policy that init-fetcher will apply.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { hosts: self.allowed_hosts.clone(), schemes: self.allowed_schemes.clone() }
    }

    /// Formats `WORKFLOW_ALLOWED_HOSTS`, comma-separated; empty allows all.
    #[must_use]
    pub fn allowed_hosts(&self) -> String {
        joined(&self.allowed_hosts)
    }

    /// Formats `WORKFLOW_SIGNERS` for the URL of a session's workflow; empty demands no signature.
    #[must_use]
    pub fn signers(&self, git_url: &str) -> String {
        let signers = first_match(&self.verify, git_url).map(|rule| &rule.signers);
        signers.filter(|signers| signers.require != Require::None).map_or_else(String::new, Signers::to_json)
    }

    /// Returns a remark for each key of `verify` of which no signature counts any more; `now` in Unix seconds.
    #[must_use]
    pub fn key_warnings(&self, now: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, rule) in self.verify.iter().enumerate() {
            let keys = TrustedKeys::parse(&rule.signers).unwrap_or_default();
            warnings
                .extend(keys.warnings(now).into_iter().map(|why| format!("verify, rule {}: {why}", at + 1)));
        }
        warnings
    }

    /// Formats `WORKFLOW_ALLOWED_SCHEMES`, comma-separated.
    #[must_use]
    pub fn allowed_schemes(&self) -> String {
        joined(&self.allowed_schemes)
    }
}

fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
