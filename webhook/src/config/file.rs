//! The config file as written, and what it means.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use workflow_contract::text;

use super::value::{self, Checked};
use super::{Config, ConfigError, Proxy};

/// The keys of `config.yaml`. All are optional, unknown ones are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    image: Option<Checked<value::Image>>,
    image_pull_policy: Option<Checked<value::PullPolicy>>,
    resources: Option<Resources>,
    timeout: Option<Checked<value::Duration>>,
    max_bytes: Option<Checked<value::Bytes>>,
    max_files: Option<Checked<value::Count>>,
    allowed_hosts: Option<Checked<value::Hosts>>,
    allowed_schemes: Option<Checked<value::Schemes>>,
    github_hosts: Option<Checked<value::ExactHosts>>,
    gitlab_hosts: Option<Checked<value::ExactHosts>>,
    credentials_secret: Option<Checked<value::SecretName>>,
    proxy: Option<ProxyFile>,
    log_format: Option<Checked<value::LogFormat>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resources {
    requests: BTreeMap<String, Checked<value::Quantity>>,
    limits: BTreeMap<String, Checked<value::Quantity>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProxyFile {
    https: Option<Checked<value::Text>>,
    http: Option<Checked<value::Text>>,
    no: Option<Checked<value::Text>>,
}

/// Reads a config file's text. An empty one is all defaults.
///
/// # Errors
/// [`ConfigError::Invalid`] with line and column.
pub fn parse(yaml: &str) -> Result<Config, ConfigError> {
    // No snippet: it would show neighbouring lines, and a proxy's URL may hold a password.
    let options = serde_saphyr::options! { with_snippet: false };
    let file: Option<File> = serde_saphyr::from_str_with_options(yaml, options)
        .map_err(|error| ConfigError::Invalid(text::one_line(&error.to_string())))?;
    Ok(meant(file.unwrap_or_default()))
}

fn meant(file: File) -> Config {
    let defaults = Config::default();
    let File {
        image,
        image_pull_policy,
        resources,
        timeout,
        max_bytes,
        max_files,
        allowed_hosts,
        allowed_schemes,
        github_hosts,
        gitlab_hosts,
        credentials_secret,
        proxy,
        log_format,
    } = file;
    let mut policy = defaults.policy;
    if let Some(Checked(hosts)) = allowed_hosts {
        policy.hosts = hosts;
    }
    if let Some(Checked(schemes)) = allowed_schemes {
        policy.schemes = schemes;
    }
    let proxy = proxy.unwrap_or_default();
    Config {
        image: image.map_or(defaults.image, |Checked(image)| image),
        image_pull_policy: image_pull_policy.map(|Checked(policy)| policy),
        resources: resources.map_or(defaults.resources.clone(), |own| merged(&defaults.resources, own)),
        timeout: timeout.map_or(defaults.timeout, |Checked(timeout)| timeout),
        max_bytes: max_bytes.map_or(defaults.max_bytes, |Checked(bytes)| bytes),
        max_files: max_files.map_or(defaults.max_files, |Checked(files)| files),
        policy,
        github_hosts: github_hosts.map_or(defaults.github_hosts, |Checked(hosts)| hosts),
        gitlab_hosts: gitlab_hosts.map_or(defaults.gitlab_hosts, |Checked(hosts)| hosts),
        credentials_secret: credentials_secret.map_or(defaults.credentials_secret, |Checked(name)| name),
        proxy: Proxy {
            https: proxy.https.and_then(|Checked(url)| url),
            http: proxy.http.and_then(|Checked(url)| url),
            no: proxy.no.and_then(|Checked(hosts)| hosts),
        },
        log_format: log_format.map_or(defaults.log_format, |Checked(format)| format),
    }
}

/// The defaults with every resource that the file names taken from the file alone: a default
/// request above the file's limit would be an invalid pod.
fn merged(defaults: &Value, own: Resources) -> Value {
    let mut merged = json!({"requests": {}, "limits": {}});
    let named: Vec<String> = own.requests.keys().chain(own.limits.keys()).cloned().collect();
    for (kind, own) in [("requests", own.requests), ("limits", own.limits)] {
        let kept = defaults[kind].as_object().into_iter().flatten();
        let kept = kept.filter(|(name, _)| !named.contains(name)).map(|(k, v)| (k.clone(), v.clone()));
        let own = own.into_iter().map(|(name, Checked(quantity))| (name, Value::String(quantity)));
        merged[kind] = Value::Object(kept.chain(own).collect::<Map<_, _>>());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        for text in ["", "# nothing\n", "{}", "---\n"] {
            assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            "image: registry.example/init-fetcher:1
imagePullPolicy: Never
resources: {limits: {memory: 1Gi}}
timeout: 90s
maxBytes: 1000000
maxFiles: 5
allowedHosts: [github.com, '*.corp']
allowedSchemes: [https]
githubHosts: github.com,ghe.corp
gitlabHosts: []
credentialsSecret: git
proxy: {https: 'http://proxy:3128', http: '', no: .corp}
logFormat: json
",
        )
        .unwrap();
        assert_eq!(config.image, "registry.example/init-fetcher:1");
        assert_eq!(config.image_pull_policy.as_deref(), Some("Never"));
        assert_eq!((&*config.timeout, &*config.max_bytes, &*config.max_files), ("90s", "1000000", "5"));
        assert_eq!((&*config.allowed_hosts(), &*config.allowed_schemes()), ("github.com,*.corp", "https"));
        assert_eq!((&*config.github_hosts, &*config.gitlab_hosts), ("github.com,ghe.corp", "none.invalid"));
        assert_eq!(config.credentials_secret.as_deref(), Some("git"));
        assert_eq!(config.proxy.https.as_deref(), Some("http://proxy:3128"));
        assert_eq!((config.proxy.http, config.proxy.no.as_deref()), (None, Some(".corp")));
        assert_eq!(config.log_format, "json");
    }

    #[test]
    fn a_resource_that_the_file_names_is_the_files_alone() {
        let resources = parse("resources: {limits: {memory: 32Mi, cpu: 0.5}}").unwrap().resources;
        assert_eq!(resources, json!({"requests": {}, "limits": {"memory": "32Mi", "cpu": "0.5"}}));
        let resources = parse("resources: {requests: {cpu: 10m}}").unwrap().resources;
        assert_eq!(
            resources,
            json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
        );
    }

    #[test]
    fn no_secret_can_be_asked_for() {
        assert_eq!(parse("credentialsSecret: ''").unwrap().credentials_secret, None);
    }

    #[test]
    fn an_error_shows_no_other_line() {
        let text = "proxy: {https: 'http://u:s3cret@proxy'}\ntimuot: 1s\nimage: x\n";
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("timuot") && !error.contains("s3cret") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn rejects_what_would_make_pods_invalid_or_mean_something_else_with_the_line() {
        for wrong in [
            "imgae: x",
            "image: ''",
            "image: a b",
            "imagePullPolicy: Sometimes",
            "resources: {limits: {memory: lots}}",
            "resources: {limit: {}}",
            "timeout: 90",
            "timeout: 0s",
            "maxBytes: -1",
            "maxFiles: 1.5",
            "allowedHosts: ['https://github.com']",
            "allowedSchemes: [ftp]",
            "allowedSchemes: []",
            "githubHosts: ['*.github.com']",
            "credentialsSecret: Not_A_Name",
            "proxy: {ftp: x}",
            "logFormat: xml",
            "image: [",
        ] {
            let error = parse(&format!("# a comment\n\n{wrong}\n")).unwrap_err().to_string();
            assert!(error.contains("line 3") || error.contains("3:"), "{wrong}: {error}");
        }
    }
}
