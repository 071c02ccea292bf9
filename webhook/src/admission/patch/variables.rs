//! The variables of the init container.
//!
//! `WORKFLOW_*` are from session and config only. The platform's own variables are copied by reference, unless the
//! session's author sets one of that name: authors must not control a fetch that carries the platform's
//! credentials. Tokens for git hosts may be the author's own.

use serde_json::Value;
use workflow_contract::env as names;
use workflow_contract::names::WORKFLOWS_ROOT;

use super::env::{Env, secret_variable, variable};
use super::literal::{doubled, without_references};
use super::pod::Pod;
use super::volumes::CREDENTIALS_DIR;
use crate::admission::json::{items, text};
use crate::admission::plan::Plan;
use crate::config::Config;

/// Variables of the platform that are copied, beside proxies.
const COPIED: [&str; 6] = [
    names::BACKEND_API_URL,
    names::PROJECT_NAME,
    names::SESSION_NAME,
    names::BOT_TOKEN,
    names::SSL_CERT_FILE,
    names::SSL_CERT_DIR,
];

/// The wanted variables; those of other names are not changed.
#[derive(Debug)]
pub struct Wanted {
    /// Entries in order; those of one name follow each other.
    pub entries: Vec<Value>,
    /// Names that are to be absent.
    pub absent: Vec<&'static str>,
}

/// Builds every variable that the injector sets.
pub fn wanted(pod: &Pod<'_>, plan: &Plan<'_>, config: &Config) -> Wanted {
    let mut wanted = Wanted { entries: own(plan, config), absent: Vec::new() };
    let runner = Source::new(pod.runner);
    let hydrate = pod.hydrate().map(Source::new);
    for name in COPIED.into_iter().chain(names::PROXIES) {
        if let Some(proxy) = configured_proxy(config, name) {
            // Set in upper case, the lower-case form absent.
            if name.starts_with(char::is_uppercase) {
                wanted.entries.push(variable(name, &doubled(proxy)));
            } else {
                wanted.absent.push(name);
            }
        } else if plan.author_sets(name) {
            wanted.absent.push(name);
        } else {
            wanted.entries.extend(hydrate.iter().chain([&runner]).find_map(|source| source.copy(name)));
        }
    }
    for name in [names::GITHUB_TOKEN, names::GITLAB_TOKEN] {
        wanted.entries.extend(token(&runner, hydrate.as_ref(), name));
    }
    wanted
}

/// Reports whether only session and config decide about a variable of a container of our name.
pub fn is_own(name: &str) -> bool {
    name.starts_with("WORKFLOW_") || name == names::LOG_FORMAT
}

fn own(plan: &Plan<'_>, config: &Config) -> Vec<Value> {
    let (hosts, schemes) = (config.allowed_hosts(), config.allowed_schemes());
    let signers = config.signers(plan.git_url);
    let values = [
        (names::WORKFLOW_GIT_URL, Some(plan.git_url)),
        (names::WORKFLOW_BRANCH, plan.branch),
        (names::WORKFLOW_PATH, plan.path),
        (names::WORKFLOW_ROOT, Some(WORKFLOWS_ROOT)),
        (names::WORKFLOW_TIMEOUT, Some(&config.timeout)),
        (names::WORKFLOW_MAX_BYTES, Some(&config.max_bytes)),
        (names::WORKFLOW_MAX_FILES, Some(&config.max_files)),
        // Written even if empty, so that no `envFrom` of others can set it.
        (names::WORKFLOW_ALLOWED_HOSTS, Some(&hosts)),
        (names::WORKFLOW_ALLOWED_SCHEMES, Some(&schemes)),
        (names::WORKFLOW_SUBMODULES, Some(config.submodules.as_str())),
        (names::WORKFLOW_UNSAFE_LINKS, Some(config.unsafe_links.as_str())),
        (names::WORKFLOW_SIGNERS, Some(&signers)),
        (names::WORKFLOW_GITHUB_HOSTS, Some(&config.github_hosts)),
        (names::WORKFLOW_GITLAB_HOSTS, Some(&config.gitlab_hosts)),
        (names::WORKFLOW_CREDENTIALS_DIR, config.credentials_secret.as_ref().map(|_| CREDENTIALS_DIR)),
        (names::LOG_FORMAT, Some(config.log_format.as_str())),
    ];
    values.into_iter().filter_map(|(name, value)| Some(variable(name, &doubled(value?)))).collect()
}

/// The proxy setting in config.yaml for a variable.
fn configured_proxy<'v>(config: &'v Config, name: &str) -> Option<&'v str> {
    let settings = [
        ("HTTPS_PROXY", &config.proxy.https),
        ("HTTP_PROXY", &config.proxy.http),
        ("NO_PROXY", &config.proxy.no),
    ];
    settings.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1.as_deref()
}

/// A container whose variables are copied.
struct Source<'v> {
    container: &'v Value,
    env: Env<'v>,
}

impl<'v> Source<'v> {
    fn new(container: &'v Value) -> Self {
        Self { container, env: Env::of(container) }
    }

    /// Copies the entry of that name in the container's `env`.
    fn copy(&self, name: &str) -> Option<Value> {
        let entry = self.env.last(name)?;
        let reference = &entry["valueFrom"];
        Some(if reference.is_null() {
            variable(name, &without_references(text(entry, "value")))
        } else {
            [("name", name.into()), ("valueFrom", reference.clone())].into_iter().collect()
        })
    }
}

/// Builds a token's entries as they reach the runner: from its `env`, and from its `envFrom` if the entry in
/// `env` is missing or may refer to nothing.
///
/// Several Secrets may have the key. Each is referred to, in the order of `envFrom`: the kubelet skips an optional
/// key that is absent, and a later entry of the same name wins, so that the token is the runner's own.
fn token(runner: &Source<'_>, hydrate: Option<&Source<'_>>, name: &str) -> Vec<Value> {
    let entries = |source: &Source<'_>| match source.copy(name) {
        Some(entry) if !is_optional(&entry) => vec![entry],
        entry => secret_keys(source.container, name).chain(entry).collect(),
    };
    let sources = [runner].into_iter().chain(hydrate);
    sources.map(entries).find(|entries: &Vec<Value>| !entries.is_empty()).unwrap_or_default()
}

/// Reports whether the kubelet skips an entry if what it refers to is absent.
fn is_optional(entry: &Value) -> bool {
    let references = entry["valueFrom"].as_object().into_iter().flatten();
    references.into_iter().any(|(_, reference)| reference["optional"] == true)
}

fn secret_keys(container: &Value, name: &str) -> impl Iterator<Item = Value> {
    items(&container["envFrom"]).iter().filter_map(move |source| {
        let secret = text(&source["secretRef"], "name");
        let key = name.strip_prefix(text(source, "prefix"))?;
        let usable = !secret.is_empty() && !key.is_empty();
        usable.then(|| secret_variable(name, secret, key))
    })
}
