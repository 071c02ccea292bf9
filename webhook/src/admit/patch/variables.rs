//! What the init container's environment is to be.
//!
//! `WORKFLOW_*` come from session and config only. The platform's own variables are copied by
//! reference, unless the session's author sets one of that name: the author must not steer a fetch
//! that carries the platform's credentials. Tokens for git hosts may be the author's own.

use serde_json::{Value, json};
use workflow_contract::env;
use workflow_contract::names::WORKFLOWS_ROOT;

use super::environment::Variable;
use super::literal::{doubled, variable, without_references};
use super::pod::Pod;
use super::volumes::CREDENTIALS_DIR;
use crate::admit::json::{self, Json};
use crate::admit::plan::Plan;
use crate::config::Config;

/// Platform variables that are copied, beside the proxies.
const COPIED: [&str; 6] = [
    env::BACKEND_API_URL,
    env::PROJECT_NAME,
    env::SESSION_NAME,
    env::BOT_TOKEN,
    env::SSL_CERT_FILE,
    env::SSL_CERT_DIR,
];

/// Every variable that is ours to set; one without entries is to be absent.
pub fn wanted(pod: &Pod<'_, '_>, plan: &Plan<'_>, config: &Config) -> Vec<Variable> {
    let mut wanted = own(plan, config);
    let sources = || pod.hydrate.into_iter().chain([pod.runner]);
    for name in COPIED.into_iter().chain(env::PROXIES) {
        if let Some(proxy) = configured_proxy(config, name) {
            wanted.push(proxy);
        } else if plan.author_sets(name) {
            wanted.push(Variable { name: name.to_owned(), entries: Vec::new() });
        } else if let Some(entry) = sources().find_map(|container| explicit(container, name)) {
            wanted.push(Variable { name: name.to_owned(), entries: vec![entry] });
        }
    }
    for name in [env::GITHUB_TOKEN, env::GITLAB_TOKEN] {
        let entries = token(pod, name);
        if !entries.is_empty() {
            wanted.push(Variable { name: name.to_owned(), entries });
        }
    }
    wanted
}

/// Whether a variable of a container of our name belongs to what session and config decide alone.
pub fn is_own(name: &str) -> bool {
    name.starts_with("WORKFLOW_") || name == env::LOG_FORMAT
}

fn own(plan: &Plan<'_>, config: &Config) -> Vec<Variable> {
    let credentials = config.credentials_secret.as_ref().map(|_| CREDENTIALS_DIR.to_owned());
    let texts = [
        (env::WORKFLOW_GIT_URL, Some(plan.git_url.to_owned())),
        (env::WORKFLOW_BRANCH, plan.branch.map(str::to_owned)),
        (env::WORKFLOW_PATH, plan.path.map(str::to_owned)),
        (env::WORKFLOW_ROOT, Some(WORKFLOWS_ROOT.to_owned())),
        (env::WORKFLOW_TIMEOUT, Some(config.timeout.clone())),
        (env::WORKFLOW_MAX_BYTES, Some(config.max_bytes.clone())),
        (env::WORKFLOW_MAX_FILES, Some(config.max_files.clone())),
        // Written even where it is empty, so that no `envFrom` of others can set it.
        (env::WORKFLOW_ALLOWED_HOSTS, Some(config.allowed_hosts())),
        (env::WORKFLOW_ALLOWED_SCHEMES, Some(config.allowed_schemes())),
        (env::WORKFLOW_GITHUB_HOSTS, Some(config.github_hosts.clone())),
        (env::WORKFLOW_GITLAB_HOSTS, Some(config.gitlab_hosts.clone())),
        (env::WORKFLOW_CREDENTIALS_DIR, credentials),
        (env::LOG_FORMAT, Some(config.log_format.clone())),
    ];
    let present = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    present
        .map(|(name, text)| Variable {
            name: name.to_owned(),
            entries: vec![variable(name, &doubled(&text))],
        })
        .collect()
}

/// A proxy that the config decides: set in upper case, the lower-case form absent.
fn configured_proxy(config: &Config, name: &str) -> Option<Variable> {
    let proxy = match name.to_ascii_uppercase().as_str() {
        "HTTPS_PROXY" => &config.proxy.https,
        "HTTP_PROXY" => &config.proxy.http,
        "NO_PROXY" => &config.proxy.no,
        _ => return None,
    };
    let url = proxy.as_ref()?;
    let upper = name.starts_with(char::is_uppercase);
    let entries = if upper { vec![variable(name, &doubled(url))] } else { Vec::new() };
    Some(Variable { name: name.to_owned(), entries })
}

/// A copy of the entry of that name in a container's `env`; the last one, as for the kubelet.
fn explicit(container: &Json<'_>, name: &str) -> Option<Value> {
    let entry = json::list(container, "env").iter().rfind(|entry| json::text(entry, "name") == name)?;
    let reference = json::get(entry, "valueFrom");
    if reference.is_null() {
        Some(variable(name, &without_references(json::text(entry, "value"))))
    } else {
        Some(json!({"name": name, "valueFrom": json::owned(reference)}))
    }
}

/// A token as it reaches the runner: from its `env`, else from its `envFrom`.
///
/// Several Secrets may hold it. Each is referred to, in the order of `envFrom`: the kubelet passes
/// over an optional key that is absent, and a later entry of the same name wins, so that the token
/// is the runner's own. The API server warns of the repeated name; a single reference would guess.
fn token(pod: &Pod<'_, '_>, name: &str) -> Vec<Value> {
    let sources = || [pod.runner].into_iter().chain(pod.hydrate);
    if let Some(entry) = sources().find_map(|container| explicit(container, name)) {
        return vec![entry];
    }
    let references = sources().map(|container| secret_keys(container, name));
    references.into_iter().find(|entries| !entries.is_empty()).unwrap_or_default()
}

fn secret_keys(container: &Json<'_>, name: &str) -> Vec<Value> {
    let secrets = json::list(container, "envFrom").iter().filter_map(|source| {
        let secret = json::text(json::get(source, "secretRef"), "name");
        let key = name.strip_prefix(json::text(source, "prefix"))?;
        let usable = !secret.is_empty() && !key.is_empty();
        usable.then(|| {
            json!({"name": name, "valueFrom": {
                "secretKeyRef": {"name": secret, "key": key, "optional": true},
            }})
        })
    });
    secrets.collect()
}
