//! The policy on hosts and schemes, and lists of hosts for credentials.

use std::fmt;

use crate::text;
use crate::url::{RepoUrl, Scheme};

/// A setting of the policy that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither a host name nor `*.suffix`.
    #[error("`{0}` is not a host; write exact names such as `github.com`, or `*.example.com`")]
    Host(String),
    /// A wildcard where only exact names count.
    #[error("`{0}` is not an exact host; a credential is never sent to a pattern of hosts")]
    Wildcard(String),
    #[error("`{0}` is not a supported scheme; use https, ssh or http")]
    Scheme(String),
}

/// A URL that the policy excludes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error("the scheme {scheme}:// is not allowed here; allowed: {allowed}")]
    Scheme { scheme: Scheme, allowed: String },
    #[error("the host {host} is not allowed here; allowed: {allowed}")]
    Host { host: String, allowed: String },
}

/// An exact host name or `*.suffix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    fn parse(item: &str) -> Result<Self, PolicyError> {
        let name = item.strip_prefix("*.").unwrap_or(item);
        let plausible = !name.is_empty()
            && !name.starts_with('.')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']'))
            && (!name.contains(':') || name.starts_with('['));
        if plausible {
            Ok(Self(item.to_ascii_lowercase()))
        } else {
            Err(PolicyError::Host(text::sanitize(item)))
        }
    }

    /// Reports whether the host matches; `*.suffix` matches every host below the suffix, not the suffix itself.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => {
                host.len() > suffix.len()
                    && host.is_char_boundary(host.len() - suffix.len())
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
            None => self.0.eq_ignore_ascii_case(host),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses a comma-separated list of exact names and `*.suffix` patterns.
///
/// # Errors
/// [`PolicyError::Host`] with the item.
pub fn parse_hosts(list: &str) -> Result<Vec<HostPattern>, PolicyError> {
    items(list).map(HostPattern::parse).collect()
}

/// Parses a comma-separated list of exact names into lower case.
///
/// # Errors
/// [`PolicyError::Host`] or [`PolicyError::Wildcard`] with the item.
pub fn parse_exact_hosts(list: &str) -> Result<Vec<String>, PolicyError> {
    items(list)
        .map(|item| match HostPattern::parse(item)? {
            HostPattern(name) if name.contains('*') => Err(PolicyError::Wildcard(name)),
            HostPattern(name) => Ok(name),
        })
        .collect()
}

/// Parses a comma-separated list of schemes.
///
/// # Errors
/// [`PolicyError::Scheme`] with the item.
pub fn parse_schemes(list: &str) -> Result<Vec<Scheme>, PolicyError> {
    items(list)
        .map(|item| Scheme::from_name(item).ok_or_else(|| PolicyError::Scheme(text::sanitize(item))))
        .collect()
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty())
}

/// The repositories that may be fetched, by host and scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Allowed hosts; empty allows all.
    pub hosts: Vec<HostPattern>,
    /// Allowed schemes.
    pub schemes: Vec<Scheme>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { hosts: Vec::new(), schemes: vec![Scheme::Https, Scheme::Ssh] }
    }
}

impl Policy {
    /// Checks the URL of a repository.
    ///
    /// # Errors
    /// [`NotAllowed`] with the allowed values.
    pub fn check(&self, url: &RepoUrl) -> Result<(), NotAllowed> {
        self.check_parts(url.scheme(), url.host())
    }

    /// Checks a scheme and a host, such as those of a redirect.
    ///
    /// # Errors
    /// [`NotAllowed`] with the allowed values.
    pub fn check_parts(&self, scheme: Scheme, host: &str) -> Result<(), NotAllowed> {
        if !self.schemes.contains(&scheme) {
            return Err(NotAllowed::Scheme { scheme, allowed: joined(&self.schemes) });
        }
        if !self.hosts.is_empty() && !self.hosts.iter().any(|pattern| pattern.matches(host)) {
            return Err(NotAllowed::Host { host: text::sanitize(host), allowed: joined(&self.hosts) });
        }
        Ok(())
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    let all: Vec<String> = items.iter().map(T::to_string).collect();
    text::sanitize(&all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_exactly_or_below_a_suffix() {
        let hosts = parse_hosts("github.com, *.Example.com\n[::1]").unwrap();
        let allowed = |host: &str| hosts.iter().any(|pattern| pattern.matches(host));
        for host in ["github.com", "GitHub.com", "a.example.com", "a.b.example.com", "[::1]"] {
            assert!(allowed(host), "{host}");
        }
        for host in ["example.com", "evilexample.com", "github.com.evil", "xgithub.com", "github.com.", ""] {
            assert!(!allowed(host), "{host}");
        }
    }

    #[test]
    fn rejects_lists_of_other_things_than_hosts() {
        for list in ["https://h", "h/x", "*", "*.", "a b", "h:443", "*.*.h", ".h"] {
            assert!(parse_hosts(list).is_err(), "{list}");
        }
        assert!(matches!(parse_exact_hosts("a, *.b"), Err(PolicyError::Wildcard(_))));
        assert_eq!(parse_exact_hosts(" GHE.corp ,").unwrap(), ["ghe.corp"]);
        assert!(parse_schemes("https,ftp").is_err());
    }

    #[test]
    fn default_policy_allows_https_and_ssh_from_any_host() {
        let policy = Policy::default();
        let check = |url: &str| policy.check(&RepoUrl::parse(url).unwrap());
        assert_eq!(check("https://h/r"), Ok(()));
        assert_eq!(check("git@h:r"), Ok(()));
        assert!(matches!(check("http://h/r"), Err(NotAllowed::Scheme { scheme: Scheme::Http, .. })));
    }

    #[test]
    fn list_of_hosts_excludes_all_others() {
        let policy = Policy { hosts: parse_hosts("*.corp").unwrap(), ..Policy::default() };
        let error = policy.check(&RepoUrl::parse("https://github.com/a/b").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the host github.com is not allowed here; allowed: *.corp");
    }
}
