//! Patterns of repository URLs: a URL, or the start of one followed by `*`.

use std::fmt;

use crate::text;
use crate::url::{RepoUrl, Scheme};

/// The user of ssh URLs that name none.
const SSH_USER: &str = "git";

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern of repositories: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

/// A pattern of repository URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern {
    text: String,
    /// `None` for `*`, every repository.
    scope: Option<Scope>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    /// True if the pattern ends with `*`.
    is_prefix: bool,
    /// Spelled as written: scheme, user of ssh, host, port and path.
    exact: Address,
    /// In the form in which spellings are equal.
    canonical: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    scheme: Scheme,
    user: Option<String>,
    host: String,
    port: u16,
    path: String,
}

impl RepositoryPattern {
    /// Parses `*`, the URL of a repository, or the start of one that ends with `*`. The host must be complete.
    ///
    /// # Errors
    /// [`PatternError`] with the reason.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let failed = |why: &str| PatternError { pattern: shown(pattern), why: why.to_owned() };
        if pattern == "*" {
            return Ok(Self { text: pattern.to_owned(), scope: None });
        }
        let (start, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
        if start.contains('*') {
            return Err(failed("`*` may stand only at its end"));
        }
        if start.contains(['%', ';']) {
            return Err(failed("write it without `%` and `;`"));
        }
        // A prefix is the URL of the repository with one more letter.
        let filler = if is_prefix { "x" } else { "" };
        let url = RepoUrl::parse(&format!("{start}{filler}")).map_err(|_| {
            failed(
                "write a URL such as https://host/owner/repository, or its start with the whole host and `*`",
            )
        })?;
        if url.scheme() != Scheme::Ssh && url.userinfo().is_some()
            || url.userinfo().is_some_and(|info| !info.password.expose().is_empty())
        {
            return Err(failed("it must not contain a user name or password"));
        }
        let without_filler = |text: &str| text.strip_suffix(filler).unwrap_or(text).to_owned();
        let exact = Address { path: without_filler(url.path()), ..Address::of(&url) };
        let canonical = without_filler(&canonical(&url));
        Ok(Self { text: pattern.to_owned(), scope: Some(Scope { is_prefix, exact, canonical }) })
    }

    /// Reports whether it is `*`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.scope.is_none()
    }

    /// Reports whether host and path match, in any spelling that a server may take for the same repository: scheme,
    /// user and port are ignored, as are case, percent-encoding, surplus slashes, path parameters and `.git`.
    #[must_use]
    pub fn matches(&self, url: &RepoUrl) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.matches(&canonical(url)))
    }

    /// Reports whether the URL is spelled like the pattern: same scheme, host and port, and byte for byte the same path.
    #[must_use]
    pub fn matches_exactly(&self, url: &RepoUrl) -> bool {
        let Some(scope) = &self.scope else { return true };
        let plain = !url.path().contains(['%', ';']) && !url.path().contains("//");
        plain && scope.exact.matches(&Address::of(url), scope.is_prefix)
    }

    /// Reports whether [`Self::matches`] holds for everything that `other` can mean.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(scope), Some(other)) => {
                (scope.is_prefix || !other.is_prefix) && scope.matches(&other.canonical)
            }
        }
    }

    /// Reports whether [`Self::matches_exactly`] holds for everything that is spelled like `other`.
    pub(super) fn covers_exactly(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(scope), Some(other)) => {
                (scope.is_prefix || !other.is_prefix) && scope.exact.matches(&other.exact, scope.is_prefix)
            }
        }
    }
}

impl Scope {
    fn matches(&self, canonical: &str) -> bool {
        if self.is_prefix {
            // A prefix may end within or after `.git`.
            canonical.starts_with(&self.canonical) || format!("{canonical}.git").starts_with(&self.canonical)
        } else {
            canonical == self.canonical
        }
    }
}

impl Address {
    fn of(url: &RepoUrl) -> Self {
        let user = url.userinfo().map(|info| info.username.expose()).filter(|user| !user.is_empty());
        Self {
            scheme: url.scheme(),
            user: (url.scheme() == Scheme::Ssh).then(|| user.unwrap_or(SSH_USER).to_owned()),
            host: url.host().to_owned(),
            port: url.port(),
            path: url.path().to_owned(),
        }
    }

    fn matches(&self, other: &Self, is_prefix: bool) -> bool {
        (self.scheme, &self.user, &self.host, self.port)
            == (other.scheme, &other.user, &other.host, other.port)
            && if is_prefix { other.path.starts_with(&self.path) } else { other.path == self.path }
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn shown(pattern: &str) -> String {
    text::sanitize(&crate::url::redacted(pattern))
}

/// Formats `host/path` so that spellings of one repository are equal.
fn canonical(url: &RepoUrl) -> String {
    let decoded = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy();
    let mut segments = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        // Servers written in Java drop parameters from each segment.
        let segment = segment.split_once(';').map_or(segment, |(name, _)| name);
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_lowercase()),
        }
    }
    let path = segments.join("/");
    let path = path.strip_suffix(".git").unwrap_or(&path);
    format!("{}/{path}", url.host().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_misleading_patterns() {
        for (pattern, why) in [
            ("", "the whole host"),
            ("github.com/acme/*", "the whole host"),
            ("https://github.com*", "the whole host"),
            ("https://*", "the whole host"),
            ("https://*.corp/x", "only at its end"),
            ("https://h/*/x*", "only at its end"),
            ("https://h/%61/*", "without `%`"),
            ("https://h/a/../*", "the whole host"),
            ("ftp://h/a/*", "the whole host"),
            ("https://u:s3cret@h/a/*", "user name or password"),
            ("https://u@h/a/*", "user name or password"),
            ("ssh://u:s3cret@h/a/*", "user name or password"),
        ] {
            let error = RepositoryPattern::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("s3cret"), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_prefix_matches_within_a_name_and_ends_at_a_slash_if_it_has_one() {
        for (pattern, url, matches) in [
            ("https://h/a/b*", "https://h/a/bc", true),
            ("https://h/a/b*", "https://h/a/b", true),
            ("https://h/a/b.git*", "https://h/a/b", true),
            ("https://h/a/b.git*", "https://h/a/bc", false),
            ("https://h/a/*", "https://h/ab", false),
            ("https://h/a/*", "https://h/a/b/c", true),
            ("https://h/*", "https://h/a", true),
            ("https://h/*", "https://hh/a", false),
            ("https://h:8443/a/*", "https://h/a/b", true),
            ("git@h:a/*", "https://h/a/b", true),
            ("https://h/a/b", "https://h/a/b/c", false),
        ] {
            let url = RepoUrl::parse(url).unwrap();
            assert_eq!(RepositoryPattern::parse(pattern).unwrap().matches(&url), matches, "{pattern} {url}");
        }
    }

    #[test]
    fn exact_patterns_of_ssh_compare_the_user() {
        let exactly = |pattern: &str, url: &str| {
            RepositoryPattern::parse(pattern).unwrap().matches_exactly(&RepoUrl::parse(url).unwrap())
        };
        assert!(exactly("git@h:a/*", "git@h:a/b"));
        assert!(exactly("ssh://h/a/*", "ssh://git@h:22/a/b"));
        assert!(!exactly("git@h:a/*", "other@h:a/b"));
        assert!(!exactly("git@h:a/*", "ssh://git@h/a/b"), "relative to the home directory");
    }
}
