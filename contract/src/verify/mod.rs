//! Which repositories must be signed, and by whom: the rules of `verify` in config.yaml, and the rule that applies as it
//! is passed to init-fetcher in `WORKFLOW_SIGNERS`.

mod pattern;

use serde::{Deserialize, Serialize};

use crate::url::RepoUrl;

pub use pattern::{PatternError, RepositoryPattern};

/// Longest value of `WORKFLOW_SIGNERS`, in bytes: Linux passes at most 128 KiB in one variable.
pub const MAX_SIGNERS: usize = 96 << 10;

/// The object that must carry a trusted signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// None is verified.
    None,
    /// The commit that is delivered.
    Commit,
    /// An annotated tag that names the commit.
    Tag,
    /// One of both.
    Either,
}

/// The trusted keys and the object that they must have signed: the JSON of `WORKFLOW_SIGNERS`. Public keys only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signers {
    pub require: Require,
    /// OpenSSH `allowed_signers`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ssh_signers: String,
    /// SSH public keys, one a line, that are no longer trusted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ssh_revoked_keys: String,
    /// Armored OpenPGP public keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub openpgp_keys: String,
}

impl Signers {
    /// Formats the value of `WORKFLOW_SIGNERS`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the value of `WORKFLOW_SIGNERS`.
    ///
    /// # Errors
    /// The position and reason; the text is not shown.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRule {
    pub repositories: Vec<RepositoryPattern>,
    pub signers: Signers,
}

impl VerifyRule {
    fn applies_to(&self, url: Option<&RepoUrl>) -> bool {
        self.repositories.iter().any(|pattern| match (self.signers.require, url) {
            (Require::None, Some(url)) => pattern.matches_exactly(url),
            (Require::None, None) => false,
            (_, Some(url)) => pattern.matches(url),
            // A text that is no URL to this version may be one to another version of init-fetcher.
            (_, None) => true,
        })
    }

    /// Reports whether this rule, if it comes first, applies to every repository that `pattern` of a later rule means.
    #[must_use]
    pub fn shadows(&self, pattern: &RepositoryPattern, require: Require) -> bool {
        self.repositories.iter().any(|earlier| match (self.signers.require, require) {
            (Require::None, Require::None) => earlier.covers_exactly(pattern),
            (Require::None, _) => earlier.is_all(),
            _ => earlier.covers(pattern),
        })
    }
}

/// Returns the first rule that applies to a repository, by the URL as the session has it.
///
/// A rule that demands a signature applies however the URL is spelled: only host and path are compared, see
/// [`RepositoryPattern::matches`]. A rule that demands none applies only to URLs spelled like its pattern. So another
/// spelling never leads to less verification.
#[must_use]
pub fn first_match<'r>(rules: &'r [VerifyRule], git_url: &str) -> Option<&'r VerifyRule> {
    let url = RepoUrl::parse(git_url).ok();
    rules.iter().find(|rule| rule.applies_to(url.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(require: Require, patterns: &[&str]) -> VerifyRule {
        let repositories = patterns.iter().map(|text| RepositoryPattern::parse(text).unwrap()).collect();
        let (ssh_signers, empty) = (patterns.concat(), String::new());
        let signers = Signers { require, ssh_signers, ssh_revoked_keys: empty.clone(), openpgp_keys: empty };
        VerifyRule { repositories, signers }
    }

    #[test]
    fn the_first_matching_rule_applies() {
        let rules = [
            rule(Require::None, &["https://github.com/acme/docs", "https://github.com/acme/public-*"]),
            rule(Require::Tag, &["https://github.com/acme/tools", "git@git.corp:acme/*"]),
            rule(Require::Commit, &["https://github.com/acme/*"]),
            rule(Require::None, &["*"]),
        ];
        let require = |url: &str| first_match(&rules, url).map(|rule| rule.signers.require).unwrap();
        for (url, expected) in [
            ("https://github.com/acme/docs", Require::None),
            ("https://user:token@GITHUB.com:443/acme/docs", Require::None),
            ("https://github.com/acme/public-x", Require::None),
            ("https://github.com/acme/tools.git", Require::Tag),
            ("https://git.corp/acme/x", Require::Tag),
            ("https://github.com/acme/flow", Require::Commit),
            ("https://github.com/acme-evil/flow", Require::None),
            ("https://github.com.evil/acme/flow", Require::None),
            ("https://evil/github.com/acme/flow", Require::None),
            ("https://github.com/acme", Require::None),
            // Exempt only as spelled.
            ("https://github.com/acme/docs.git", Require::Commit),
            ("https://github.com/acme/Docs", Require::Commit),
            ("https://github.com/acme//docs", Require::Commit),
            ("https://github.com/acme/%64ocs", Require::Commit),
            ("http://github.com/acme/docs", Require::Commit),
            ("https://github.com:8443/acme/docs", Require::Commit),
            ("git@github.com:acme/docs", Require::Commit),
            ("https://github.com/acme/public-x/..%2fsecret", Require::Commit),
            ("https://github.com/acme/public-x;/secret", Require::Commit),
            // No URL at all: the first rule that demands a signature.
            ("nonsense", Require::Tag),
        ] {
            assert_eq!(require(url), expected, "{url}");
        }
    }

    #[test]
    fn no_spelling_of_a_repository_escapes_its_rule() {
        let rules = [rule(Require::Commit, &["https://github.com/acme/*"]), rule(Require::None, &["*"])];
        for url in [
            "https://github.com/acme/flow",
            "HTTPS://GitHub.COM/acme/flow",
            "https://github.com./acme/flow",
            "https://github.com:443/acme/flow/",
            "https://github.com:8443/acme/flow",
            "https://acme:x@github.com/acme/flow.git",
            "https://other@github.com/ACME/Flow",
            "https://github.com//acme//flow",
            "https://github.com/%61cme/flow",
            "https://github.com/acme%2Fflow",
            "https://github.com/acme%5cflow",
            "https://github.com/x/..%2facme/flow",
            "https://github.com/acme;x=y/flow",
            "http://github.com/acme/flow",
            "ssh://git@github.com/acme/flow",
            "ssh://github.com:2222/acme/flow.git",
            "git@github.com:acme/flow",
            "git@github.com:/acme/flow.git",
            "[git@github.com:22]:acme/flow",
        ] {
            assert_eq!(first_match(&rules, url), Some(&rules[0]), "{url}");
        }
    }

    #[test]
    fn without_a_matching_rule_nothing_applies() {
        let rules = [rule(Require::Commit, &["https://h/a/*"])];
        assert_eq!(first_match(&rules, "https://h/b/c"), None);
        assert_eq!(first_match(&[], "https://h/b/c"), None);
    }

    #[test]
    fn finds_patterns_that_an_earlier_rule_takes() {
        let commit = |patterns| rule(Require::Commit, patterns);
        let none = |patterns| rule(Require::None, patterns);
        for (earlier, later, require, shadowed) in [
            (commit(&["*"]), "https://h/a/*", Require::None, true),
            (commit(&["https://h/a/*"]), "https://h/a/b", Require::None, true),
            (commit(&["https://h/a/*"]), "ssh://git@H/A/b*", Require::Tag, true),
            (commit(&["https://h/a/b"]), "https://h/a/b.git", Require::Tag, true),
            (commit(&["https://h/a/b"]), "https://h/a/*", Require::Tag, false),
            (commit(&["https://h/a/*"]), "*", Require::None, false),
            (none(&["https://h/a/*"]), "https://h/a/b", Require::None, true),
            (none(&["https://h/a/*"]), "https://h/A/b", Require::None, false),
            // The signed rule still takes other spellings.
            (none(&["https://h/a/*"]), "https://h/a/b", Require::Commit, false),
            (none(&["*"]), "https://h/a/b", Require::Commit, true),
        ] {
            let pattern = RepositoryPattern::parse(later).unwrap();
            assert_eq!(earlier.shadows(&pattern, require), shadowed, "{earlier:?} {later}");
        }
    }

    #[test]
    fn the_variable_is_compact_json_and_read_strictly() {
        let signers = rule(Require::Either, &["*"]).signers;
        let json = signers.to_json();
        assert_eq!(json, r#"{"require":"either","sshSigners":"*"}"#);
        assert_eq!(Signers::from_json(&json).unwrap(), signers);
        for wrong in ["", "{}", r#"{"require":"all"}"#, r#"{"require":"tag","keys":""}"#] {
            assert!(Signers::from_json(wrong).is_err(), "{wrong}");
        }
    }
}
