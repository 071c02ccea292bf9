//! What the init container's environment is to be.
//!
//! `WORKFLOW_*` come from session and config only. The platform's own variables are copied by
//! reference, unless the session's author sets one of that name: the author must not steer a fetch
//! that carries the platform's credentials. Tokens for git hosts may be the author's own.

use std::borrow::Cow;

use workflow_contract::env;
use workflow_contract::names::WORKFLOWS_ROOT;

use super::environment::Entry;
use super::literal::{doubled, without_references};
use super::pod::{Container, Pod};
use super::volumes::CREDENTIALS_DIR;
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

/// Entries that there are mostly.
const ROOM: usize = 24;

/// What the environment is to be. What is named in neither list is none of ours.
#[derive(Debug)]
pub struct Wanted<'v> {
    /// Entries in order, those of one name behind one another.
    pub entries: Vec<Entry<'v>>,
    /// Names that are to be absent.
    pub absent: Vec<&'static str>,
}

/// Every variable that is ours to set.
pub fn wanted<'v>(pod: &Pod<'v>, plan: &Plan<'v>, config: &'v Config) -> Wanted<'v> {
    let mut wanted = Wanted { entries: own(plan, config), absent: Vec::new() };
    let sources = || pod.hydrate().into_iter().chain([&pod.runner]);
    for name in COPIED.into_iter().chain(env::PROXIES) {
        if let Some(proxy) = configured_proxy(config, name) {
            // Set in upper case, the lower-case form absent.
            if name.starts_with(char::is_uppercase) {
                wanted.entries.push(Entry::value(name, doubled(proxy)));
            } else {
                wanted.absent.push(name);
            }
        } else if plan.author_sets(name) {
            wanted.absent.push(name);
        } else {
            wanted.entries.extend(sources().find_map(|container| explicit(container, name)));
        }
    }
    for name in [env::GITHUB_TOKEN, env::GITLAB_TOKEN] {
        wanted.entries.extend(token(pod, name));
    }
    wanted
}

/// Whether a variable of a container of our name belongs to what session and config decide alone.
pub fn is_own(name: &str) -> bool {
    name.starts_with("WORKFLOW_") || name == env::LOG_FORMAT
}

fn own<'v>(plan: &Plan<'v>, config: &'v Config) -> Vec<Entry<'v>> {
    let credentials = config.credentials_secret.as_ref().map(|_| CREDENTIALS_DIR);
    let some = |text: &'v str| Some(Cow::Borrowed(text));
    let texts = [
        (env::WORKFLOW_GIT_URL, some(plan.git_url)),
        (env::WORKFLOW_BRANCH, plan.branch.map(Cow::Borrowed)),
        (env::WORKFLOW_PATH, plan.path.map(Cow::Borrowed)),
        (env::WORKFLOW_ROOT, some(WORKFLOWS_ROOT)),
        (env::WORKFLOW_TIMEOUT, some(&config.timeout)),
        (env::WORKFLOW_MAX_BYTES, some(&config.max_bytes)),
        (env::WORKFLOW_MAX_FILES, some(&config.max_files)),
        // Written even where it is empty, so that no `envFrom` of others can set it.
        (env::WORKFLOW_ALLOWED_HOSTS, Some(config.allowed_hosts().into())),
        (env::WORKFLOW_ALLOWED_SCHEMES, Some(config.allowed_schemes().into())),
        (env::WORKFLOW_GITHUB_HOSTS, some(&config.github_hosts)),
        (env::WORKFLOW_GITLAB_HOSTS, some(&config.gitlab_hosts)),
        (env::WORKFLOW_CREDENTIALS_DIR, credentials.map(Cow::Borrowed)),
        (env::LOG_FORMAT, some(&config.log_format)),
    ];
    let mut entries = Vec::with_capacity(ROOM);
    entries.extend(texts.into_iter().filter_map(|(name, text)| {
        Some(Entry::value(
            name,
            match text? {
                Cow::Borrowed(text) => doubled(text),
                Cow::Owned(text) => doubled(&text).into_owned().into(),
            },
        ))
    }));
    entries
}

/// A proxy that the config decides.
fn configured_proxy<'v>(config: &'v Config, name: &str) -> Option<&'v str> {
    let is = |upper: &str| name.eq_ignore_ascii_case(upper);
    let proxy = match () {
        () if is("HTTPS_PROXY") => &config.proxy.https,
        () if is("HTTP_PROXY") => &config.proxy.http,
        () if is("NO_PROXY") => &config.proxy.no,
        () => return None,
    };
    proxy.as_deref()
}

/// A copy of the entry of that name in a container's `env`; the last one, as for the kubelet.
fn explicit<'v>(container: &Container<'v>, name: &'static str) -> Option<Entry<'v>> {
    let entry = container.env.last(name)?;
    let reference = entry.get("valueFrom");
    Some(if reference.is_null() {
        Entry::value(name, without_references(entry.text("value")))
    } else {
        Entry::copied(name, reference)
    })
}

/// A token as it reaches the runner: from its `env`, and from its `envFrom` where the entry in `env`
/// is missing or may refer to nothing.
///
/// Several Secrets may hold it. Each is referred to, in the order of `envFrom`: the kubelet passes
/// over an optional key that is absent, and a later entry of the same name wins, so that the token
/// is the runner's own. The API server warns of the repeated name; a single reference would guess.
fn token<'v>(pod: &Pod<'v>, name: &'static str) -> Vec<Entry<'v>> {
    let entries = |container| match explicit(container, name) {
        Some(entry) if !entry.may_be_absent() => vec![entry],
        entry => secret_keys(container, name).chain(entry).collect(),
    };
    let sources = [&pod.runner].into_iter().chain(pod.hydrate());
    sources.map(entries).find(|entries: &Vec<Entry<'_>>| !entries.is_empty()).unwrap_or_default()
}

fn secret_keys<'v>(container: &Container<'v>, name: &'static str) -> impl Iterator<Item = Entry<'v>> {
    container.json.get("envFrom").items().filter_map(move |source| {
        let secret = source.get("secretRef").text("name");
        let key = name.strip_prefix(source.text("prefix"))?;
        let usable = !secret.is_empty() && !key.is_empty();
        usable.then(|| Entry::secret(name, secret, key))
    })
}
