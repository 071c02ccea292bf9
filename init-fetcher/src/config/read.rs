//! Reading the environment into [`super::Config`].

use std::path::PathBuf;
use std::time::Duration;

use workflow_contract::limits::{self, LimitError};
use workflow_contract::policy::{self, PolicyError};
use workflow_contract::verify::{Require, Signers};
use workflow_contract::{
    LogFormat, Policy, RefName, RepoPath, RepoUrl, Secret, Submodules, UnsafeLinks, env, text,
};
use workflow_signatures::TrustedKeys;

use super::proxy::Proxies;
use super::{
    Config, ConfigError, CredentialSettings, EnvLookup, Limits, TokenEndpoint, Trust, TrustSettings,
};

/// The CA bundle that the platform mounts into session pods.
const PLATFORM_CA_BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with the variable and its expected form.
    pub fn read(lookup: EnvLookup) -> Result<Self, ConfigError> {
        utf8(lookup)?;
        let var = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let or = |name: &str, default: &str| var(name).unwrap_or_else(|| default.to_owned());
        let policy = Policy {
            hosts: list(
                env::WORKFLOW_ALLOWED_HOSTS,
                &or(env::WORKFLOW_ALLOWED_HOSTS, ""),
                policy::parse_hosts,
            )?,
            schemes: list(
                env::WORKFLOW_ALLOWED_SCHEMES,
                &or(env::WORKFLOW_ALLOWED_SCHEMES, env::default::ALLOWED_SCHEMES),
                policy::parse_schemes,
            )?,
        };
        let url = RepoUrl::parse(&var(env::WORKFLOW_GIT_URL).ok_or(ConfigError::NoUrl)?)?;
        let reference = RefName::parse(&or(env::WORKFLOW_BRANCH, env::default::BRANCH))?;
        let path = RepoPath::parse(&or(env::WORKFLOW_PATH, ""))?;
        policy.check(&url)?;
        let credentials = credential_settings(&var)?;
        let proxies = Proxies::read(&var);
        proxies.of(url.scheme(), url.host(), url.port())?;
        Ok(Self {
            url,
            reference,
            path,
            root: absolute(env::WORKFLOW_ROOT, &or(env::WORKFLOW_ROOT, env::default::ROOT))?,
            settle: read_settle(&var)?,
            limits: read_limits(&var)?,
            policy,
            submodules: word(&var, env::WORKFLOW_SUBMODULES, "none or recursive", Submodules::from_name)?,
            signers: signers(&var)?,
            unsafe_links: word(&var, env::WORKFLOW_UNSAFE_LINKS, "skip or refuse", UnsafeLinks::from_name)?,
            trust: TrustSettings {
                files: var(env::SSL_CERT_FILE)
                    .map(PathBuf::from)
                    .into_iter()
                    .chain(credentials.dir.as_ref().map(|dir| dir.join("ca.crt")))
                    .chain([PathBuf::from(PLATFORM_CA_BUNDLE)])
                    .collect(),
                dirs: var(env::SSL_CERT_DIR)
                    .iter()
                    .flat_map(|dirs| dirs.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from))
                    .collect(),
            },
            credentials,
            proxies,
        })
    }
}

/// Returns the file of the termination message. Read on its own: a malformed configuration is reported
/// there too.
pub fn termination_log(lookup: EnvLookup) -> PathBuf {
    let path = lookup(env::WORKFLOW_TERMINATION_LOG).filter(|path| !path.trim().is_empty());
    path.map_or_else(|| env::default::TERMINATION_LOG.into(), PathBuf::from)
}

/// Returns the format of logs, on its own for the same reason.
///
/// # Errors
/// [`ConfigError::Value`] for anything but `text` and `json`.
pub fn log_format(lookup: EnvLookup) -> Result<LogFormat, ConfigError> {
    match lookup(env::LOG_FORMAT).as_deref().map(str::trim) {
        None | Some("") => Ok(LogFormat::default()),
        Some(name) => LogFormat::from_name(name).ok_or_else(|| ConfigError::Value {
            name: env::LOG_FORMAT,
            why: format!("`{}` is not a format of logs; use text or json", text::sanitize(name)),
        }),
    }
}

/// Rejects a source or a policy that is not UTF-8.
fn utf8(lookup: EnvLookup) -> Result<(), ConfigError> {
    const OURS: [&str; 11] = [
        env::WORKFLOW_GIT_URL,
        env::WORKFLOW_BRANCH,
        env::WORKFLOW_PATH,
        env::WORKFLOW_ROOT,
        env::WORKFLOW_ALLOWED_HOSTS,
        env::WORKFLOW_ALLOWED_SCHEMES,
        env::WORKFLOW_SIGNERS,
        env::WORKFLOW_CREDENTIALS_DIR,
        env::WORKFLOW_GITHUB_HOSTS,
        env::WORKFLOW_GITLAB_HOSTS,
        env::WORKFLOW_TERMINATION_LOG,
    ];
    let broken = |name: &&str| lookup(name).is_some_and(|value| value.contains(char::REPLACEMENT_CHARACTER));
    match OURS.into_iter().find(broken) {
        Some(name) => Err(ConfigError::Value { name, why: "it is not valid UTF-8".into() }),
        None => Ok(()),
    }
}

fn list<T>(
    name: &'static str,
    value: &str,
    parse: fn(&str) -> Result<Vec<T>, PolicyError>,
) -> Result<Vec<T>, ConfigError> {
    parse(value).map_err(|source| ConfigError::Policy { name, source })
}

/// Reads a variable with a fixed set of values, by default the type's.
fn word<T: Default>(
    var: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    values: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    let Some(value) = var(name) else { return Ok(T::default()) };
    parse(value.trim()).ok_or_else(|| ConfigError::Value {
        name,
        why: format!("`{}` is not a value of it; use {values}", text::sanitize(&value)),
    })
}

/// Reads the signature that is demanded; `None` if none is.
fn signers(var: &dyn Fn(&str) -> Option<String>) -> Result<Option<Trust>, ConfigError> {
    let failed = |why: String| ConfigError::Value { name: env::WORKFLOW_SIGNERS, why };
    let Some(json) = var(env::WORKFLOW_SIGNERS) else { return Ok(None) };
    let signers = Signers::from_json(&json).map_err(|error| failed(error.to_string()))?;
    if signers.require == Require::None {
        return Ok(None);
    }
    let keys = TrustedKeys::parse(&signers).map_err(|error| failed(error.to_string()))?;
    Ok(Some(Trust { require: signers.require, keys }))
}

fn absolute(name: &'static str, value: &str) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        return Ok(path);
    }
    let why = format!("`{}` is not an absolute path", text::sanitize(value));
    Err(ConfigError::Value { name, why })
}

fn read_settle(var: &dyn Fn(&str) -> Option<String>) -> Result<Duration, ConfigError> {
    let settle = var(env::WORKFLOW_SETTLE).map(|settle| limits::parse_duration(&settle)).transpose();
    let name = env::WORKFLOW_SETTLE;
    settle.map(Option::unwrap_or_default).map_err(|source| ConfigError::Limit { name, source })
}

fn read_limits(var: &dyn Fn(&str) -> Option<String>) -> Result<Limits, ConfigError> {
    fn limit<T>(name: &'static str, result: Result<T, LimitError>) -> Result<T, ConfigError> {
        result.map_err(|source| ConfigError::Limit { name, source })
    }
    let or = |name: &str, default: &str| var(name).unwrap_or_else(|| default.to_owned());
    let timeout = limits::parse_duration(&or(env::WORKFLOW_TIMEOUT, env::default::TIMEOUT));
    let bytes = limits::parse_bytes(&or(env::WORKFLOW_MAX_BYTES, env::default::MAX_BYTES));
    let files = var(env::WORKFLOW_MAX_FILES).map(|files| limits::parse_count(&files));
    Ok(Limits {
        timeout: limit(env::WORKFLOW_TIMEOUT, timeout)?,
        bytes: limit(env::WORKFLOW_MAX_BYTES, bytes)?,
        files: limit(env::WORKFLOW_MAX_FILES, files.unwrap_or(Ok(env::default::MAX_FILES)))?,
    })
}

fn credential_settings(var: &dyn Fn(&str) -> Option<String>) -> Result<CredentialSettings, ConfigError> {
    let secret = |name: &str| var(name).map(|value| Secret::trimmed(&value));
    let hosts = |name: &'static str, default: &str| {
        list(name, &var(name).unwrap_or_else(|| default.to_owned()), policy::parse_exact_hosts)
    };
    let endpoint = (|| {
        let base = var(env::BACKEND_API_URL)?;
        let (project, session) = (var(env::PROJECT_NAME)?, var(env::SESSION_NAME)?);
        let token = secret(env::BOT_TOKEN)?;
        let base = base.trim().trim_end_matches('/');
        let base =
            format!("{base}/projects/{}/agentic-sessions/{}/credentials", project.trim(), session.trim());
        Some(TokenEndpoint { base, token })
    })();
    Ok(CredentialSettings {
        dir: var(env::WORKFLOW_CREDENTIALS_DIR)
            .map(|dir| absolute(env::WORKFLOW_CREDENTIALS_DIR, &dir))
            .transpose()?,
        github_token: secret(env::GITHUB_TOKEN),
        github_hosts: hosts(env::WORKFLOW_GITHUB_HOSTS, env::default::GITHUB_HOSTS)?,
        gitlab_token: secret(env::GITLAB_TOKEN),
        gitlab_hosts: hosts(env::WORKFLOW_GITLAB_HOSTS, env::default::GITLAB_HOSTS)?,
        endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let vars: Vec<(String, String)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&move |name| vars.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    }

    const URL: (&str, &str) = ("WORKFLOW_GIT_URL", "https://h/o/r.git");

    #[test]
    fn everything_but_the_url_has_a_default() {
        let config = read(&[URL]).unwrap();
        assert_eq!((config.reference.as_str(), config.path.as_str()), ("main", ""));
        assert_eq!(config.root, PathBuf::from("/workspace/workflows"));
        let limits = Limits { timeout: Duration::from_mins(2), bytes: 512 << 20, files: 100_000 };
        assert_eq!(config.limits, limits);
        assert_eq!(config.policy, Policy::default());
        assert_eq!((config.submodules, config.unsafe_links), (Submodules::None, UnsafeLinks::Skip));
        assert_eq!(config.credentials.github_hosts, ["github.com"]);
        assert_eq!(config.credentials.gitlab_hosts, ["gitlab.com"]);
        assert!(config.credentials.endpoint.is_none());
        assert_eq!(config.trust.files, [PathBuf::from(PLATFORM_CA_BUNDLE)]);
    }

    #[test]
    fn empty_counts_as_unset() {
        let names = [
            "WORKFLOW_BRANCH",
            "WORKFLOW_PATH",
            "WORKFLOW_ROOT",
            "WORKFLOW_TIMEOUT",
            "WORKFLOW_MAX_BYTES",
            "WORKFLOW_MAX_FILES",
            "WORKFLOW_SUBMODULES",
            "WORKFLOW_UNSAFE_LINKS",
            "WORKFLOW_ALLOWED_HOSTS",
            "WORKFLOW_ALLOWED_SCHEMES",
            "WORKFLOW_CREDENTIALS_DIR",
            "GITHUB_TOKEN",
            "BOT_TOKEN",
            "SSL_CERT_FILE",
            "HTTPS_PROXY",
        ];
        let vars: Vec<(&str, &str)> = names.iter().map(|name| (*name, " ")).chain([URL]).collect();
        let config = read(&vars).unwrap();
        assert_eq!(config.root, PathBuf::from("/workspace/workflows"));
        assert!(config.credentials.github_token.is_none());
        assert!(matches!(read(&[("WORKFLOW_GIT_URL", "")]), Err(ConfigError::NoUrl)));
    }

    #[test]
    fn names_that_are_not_ours_are_ignored() {
        assert!(read(&[URL, ("WORKFLOW_PORT", "tcp://10.0.0.1:80"), ("WORKFLOW_X", "\0")]).is_ok());
    }

    #[test]
    fn rejects_malformed_input() {
        for (name, value) in [
            ("WORKFLOW_BRANCH", "a b"),
            ("WORKFLOW_PATH", "../x"),
            ("WORKFLOW_PATH", "\u{fffd}"),
            ("WORKFLOW_ROOT", "relative"),
            ("WORKFLOW_TIMEOUT", "soon"),
            ("WORKFLOW_MAX_BYTES", "many"),
            ("WORKFLOW_MAX_FILES", "0"),
            ("WORKFLOW_ALLOWED_HOSTS", "https://h"),
            ("WORKFLOW_ALLOWED_SCHEMES", "ftp"),
            ("WORKFLOW_GITHUB_HOSTS", "*.github.com"),
            ("WORKFLOW_SUBMODULES", "all"),
            ("WORKFLOW_UNSAFE_LINKS", "follow"),
            ("WORKFLOW_CREDENTIALS_DIR", "x"),
            ("HTTPS_PROXY", "ftp://p"),
            ("WORKFLOW_SIGNERS", "alice ssh-ed25519 AAAA"),
            ("WORKFLOW_SIGNERS", r#"{"require":"commit"}"#),
            ("WORKFLOW_SIGNERS", r#"{"require":"commit","sshSigners":"alice ssh-ed25519 AAAA"}"#),
        ] {
            let error = read(&[URL, (name, value)]).unwrap_err();
            assert!(
                !matches!(error, ConfigError::NotAllowed(_) | ConfigError::UnsupportedScheme(_)),
                "{name}: {error}"
            );
        }
        assert!(matches!(read(&[("WORKFLOW_GIT_URL", "no url")]), Err(ConfigError::Url(_))));
    }

    #[test]
    fn distinguishes_policy_from_mistakes() {
        for vars in [
            vec![("WORKFLOW_GIT_URL", "ftp://h/r")],
            vec![("WORKFLOW_GIT_URL", "http://h/r")],
            vec![URL, ("WORKFLOW_ALLOWED_HOSTS", "github.com")],
        ] {
            let error = read(&vars).unwrap_err();
            assert!(
                matches!(error, ConfigError::NotAllowed(_) | ConfigError::UnsupportedScheme(_)),
                "{vars:?}: {error}"
            );
        }
        assert!(read(&[("WORKFLOW_GIT_URL", "http://h/r"), ("WORKFLOW_ALLOWED_SCHEMES", "http")]).is_ok());
    }

    #[test]
    fn the_token_endpoint_needs_all_of_its_variables() {
        let all = [
            URL,
            ("BACKEND_API_URL", "http://b:8080/api/"),
            ("PROJECT_NAME", "p"),
            ("SESSION_NAME", "s"),
            ("BOT_TOKEN", "t0k\n"),
        ];
        let endpoint = read(&all).unwrap().credentials.endpoint.unwrap();
        assert_eq!(endpoint.base, "http://b:8080/api/projects/p/agentic-sessions/s/credentials");
        assert_eq!(endpoint.token.expose(), "t0k");
        for missing in 1..all.len() {
            let mut vars = all.to_vec();
            vars.remove(missing);
            assert!(read(&vars).unwrap().credentials.endpoint.is_none());
        }
    }
}
