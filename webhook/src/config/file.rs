//! Decodes config.yaml.

use workflow_contract::text;

use super::{Config, ConfigError};

/// Reads the text of a config file. An empty one results in the defaults.
///
/// # Errors
/// [`ConfigError`] with line and column.
pub fn parse(yaml: &str) -> Result<Config, ConfigError> {
    // No snippet: it would show neighbouring lines, and a proxy's URL may contain a password.
    let options = serde_saphyr::options! { with_snippet: false };
    let config: Option<Config> = serde_saphyr::from_str_with_options(yaml, options)
        .map_err(|error| ConfigError(text::one_line(&error.to_string())))?;
    Ok(config.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use workflow_contract::LogFormat;

    use serde_json::json;
    use workflow_contract::{Submodules, UnsafeLinks};

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
submodules: recursive
unsafeLinks: refuse
githubHosts: github.com,ghe.corp
gitlabHosts: []
credentialsSecret: git
proxy: {https: 'http://proxy:3128', http: '', no: .corp}
liveDelivery: true
logFormat: json
",
        )
        .unwrap();
        assert_eq!(config.image, "registry.example/init-fetcher:1");
        assert_eq!(config.image_pull_policy.as_deref(), Some("Never"));
        assert_eq!((&*config.timeout, &*config.max_bytes, &*config.max_files), ("90s", "1000000", "5"));
        assert_eq!((&*config.allowed_hosts(), &*config.allowed_schemes()), ("github.com,*.corp", "https"));
        assert_eq!((config.submodules, config.unsafe_links), (Submodules::Recursive, UnsafeLinks::Refuse));
        assert_eq!((&*config.github_hosts, &*config.gitlab_hosts), ("github.com,ghe.corp", "none.invalid"));
        assert_eq!(config.credentials_secret.as_deref(), Some("git"));
        assert_eq!(config.proxy.https.as_deref(), Some("http://proxy:3128"));
        assert_eq!((config.proxy.http, config.proxy.no.as_deref()), (None, Some(".corp")));
        assert!(config.live_delivery && !Config::default().live_delivery);
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn resources_are_merged_over_the_defaults() {
        let resources = |yaml| parse(yaml).unwrap().resources;
        assert_eq!(
            resources("resources: {limits: {memory: 64Mi, cpu: 0.5}}"),
            json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "0.5", "memory": "64Mi"}})
        );
        assert_eq!(
            resources("resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 2000m, memory: 1Gi}}"),
            json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2000m", "memory": "1Gi"}})
        );
        assert_eq!(resources("resources:\n"), Config::default().resources);
    }

    #[test]
    fn rejects_requests_above_limits_with_the_line() {
        for wrong in [
            "resources: {limits: {memory: 32Mi}}",
            "resources: {limits: {cpu: 10m}}",
            "resources: {requests: {memory: 1Gi}}",
            "resources: {requests: {cpu: 1001m}}",
            "resources: {requests: {memory: 513Mi}, limits: {memory: 0.5Gi}}",
            "resources: {requests: {example.com/x: 2}, limits: {example.com/x: 1}}",
        ] {
            let error = parse(&format!("timeout: 1s\n{wrong}\nmaxFiles: 1\n")).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("exceeds its limit"), "{wrong}: {error}");
        }
        let block = "resources:\n  limits:\n    cpu: 1\n    memory: 32Mi\ntimeout: 1s\n";
        let error = parse(block).unwrap_err().to_string();
        assert!(error.contains("line 4"), "{error}");
    }

    #[test]
    fn pull_secrets_are_names_or_references() {
        for yaml in ["[a, b.c]", "[{name: a}, {name: b.c}]", "a,b.c", "[a, {name: b.c}]"] {
            let config = parse(&format!("imagePullSecrets: {yaml}")).unwrap();
            assert_eq!(config.image_pull_secrets, ["a", "b.c"], "{yaml}");
        }
    }

    #[test]
    fn usable_proxies_are_kept_as_written() {
        for url in ["http://p:3128", "https://u:p%40@p/", "socks5://p:1080", "HTTP://[::1]:80", "proxy:3128"]
        {
            let config = parse(&format!("proxy: {{https: '{url}', http: '{url}'}}")).unwrap();
            assert_eq!(config.proxy.https.as_deref(), Some(url));
        }
    }

    #[test]
    fn an_empty_credentials_secret_means_none() {
        assert_eq!(parse("credentialsSecret: ''").unwrap().credentials_secret, None);
    }

    #[test]
    fn an_error_shows_no_other_line() {
        let text = "proxy: {https: 'http://u:s3cret@proxy'}\ntimuot: 1s\nimage: x\n";
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("timuot") && !error.contains("s3cret") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn rejects_values_that_would_make_pods_invalid_and_names_the_line() {
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
            "submodules: true",
            "unsafeLinks: follow",
            "githubHosts: ['*.github.com']",
            "credentialsSecret: Not_A_Name",
            "proxy: {ftp: x}",
            "proxy: {https: 'ftp://u:s3cret@p'}",
            "proxy: {http: 'socks4://u:s3cret@p:1'}",
            "proxy: {https: 'http://'}",
            "proxy: {https: 'socks5://'}",
            "proxy: {https: 'http://u:s3cret@p:99999'}",
            "proxy: {https: 'http://u:s3cret@p:x'}",
            "proxy: {http: 'http://u:s3cret@p q:1'}",
            "imagePullSecrets: [Not_A_Name]",
            "imagePullSecrets: [{secret: x}]",
            "liveDelivery: 1",
            "logFormat: xml",
            "image: [",
        ] {
            let error = parse(&format!("# a comment\n\n{wrong}\n")).unwrap_err().to_string();
            assert!(error.contains("line 3") || error.contains("3:"), "{wrong}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
