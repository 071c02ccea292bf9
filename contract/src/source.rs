//! The source that a session requests, in the form in which both sides compare it.

use serde::{Deserialize, Serialize};

use crate::path::RepoPath;
use crate::redact::redacted;
use crate::reference;

/// A repository, a branch and a directory, normalized so that equal values mean the same delivery.
///
/// The URL has no userinfo (a new password is not a new workflow, and annotations are widely readable), a blank branch
/// is `main`, and the path has no surplus slashes. Invalid values are kept, so that they compare equal to themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Without userinfo.
    pub git_url: String,
    /// Branch, tag or commit.
    pub branch: String,
    /// Directory; empty for the whole repository.
    #[serde(default)]
    pub path: String,
}

impl Source {
    /// Normalizes the fields as the session's author wrote them.
    #[must_use]
    pub fn new(git_url: &str, branch: &str, path: &str) -> Self {
        Self {
            git_url: redacted(git_url),
            branch: reference::or_default(branch).to_owned(),
            path: RepoPath::parse(path).map_or_else(|_| path.to_owned(), |path| path.as_str().to_owned()),
        }
    }

    /// Returns the settings that request this source, such as `URL https://h/r, branch main, path wf`, fit for a message.
    #[must_use]
    pub fn settings(&self) -> String {
        let (url, branch) = (crate::text::sanitize(&self.git_url), crate::text::sanitize(&self.branch));
        let path = match self.path.as_str() {
            "" => String::new(),
            path => format!(", path {}", crate::text::sanitize(path)),
        };
        format!("URL {url}, branch {branch}{path}")
    }
}

impl std::fmt::Display for Source {
    /// `URL (branch)` or `URL (branch, path)`, fit for a message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (url, branch) = (crate::text::sanitize(&self.git_url), crate::text::sanitize(&self.branch));
        if self.path.is_empty() {
            write!(f, "{url} ({branch})")
        } else {
            write!(f, "{url} ({branch}, {})", crate::text::sanitize(&self.path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_the_same_delivery_are_equal() {
        let a = Source::new("https://u:p@h/r", "", "/a//b/");
        assert_eq!(a, Source::new("https://other@h/r", "main", "a/b"));
        assert_ne!(a, Source::new("https://h/r", "main", "a"));
        assert_ne!(a, Source::new("https://h/r", "dev", "a/b"));
        assert_eq!(a.to_string(), "https://h/r (main, a/b)");
    }

    /// A row of the table that the policy `validate-sessions` is tested with, too.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        git_url: String,
        #[serde(default)]
        branch: String,
        #[serde(default)]
        path: String,
        valid: bool,
        /// Part of the policy's message, where it denies the source.
        denied: Option<String>,
    }

    #[test]
    fn parsers_agree_with_the_table_of_sources() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../testdata/sources.json")).unwrap();
        for Case { git_url, branch, path, valid, denied } in cases {
            let accepted = crate::RepoUrl::parse(&git_url).is_ok()
                && reference::RefName::parse(&branch).is_ok()
                && RepoPath::parse(&path).is_ok();
            assert_eq!(accepted, valid, "{git_url:?} {branch:?} {path:?}");
            assert!(!valid || denied.is_none(), "{git_url:?} {branch:?} {path:?}");
        }
    }

    #[test]
    fn invalid_values_equal_themselves() {
        assert_eq!(Source::new("nonsense", "a b", "../x"), Source::new("nonsense", "a b", "../x"));
    }
}
