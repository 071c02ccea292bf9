//! The requested branch, tag, ref or commit.

use std::fmt;

/// Maximum length of a name, in bytes: it must fit into the termination message.
pub const MAX_REF: usize = 255;

/// A name that no branch or tag can have, by the rules of `git check-ref-format`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of a branch, tag or commit: {why}")]
pub struct RefError {
    name: String,
    why: &'static str,
}

/// A branch, a tag, a full ref name or a commit id as written by the session's author.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefName(String);

impl RefName {
    /// Parses a name; blank means `main`.
    ///
    /// # Errors
    /// [`RefError`] for names that git does not allow.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let name = or_default(text);
        match malformed(name) {
            Some(why) => Err(RefError { name: crate::text::sanitize(name), why }),
            None => Ok(Self(name.to_owned())),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether this could be a full commit id: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits.
    #[must_use]
    pub fn is_commit_id(&self) -> bool {
        matches!(self.0.len(), 40 | 64) && self.is_hexadecimal()
    }

    /// Reports whether this could be the start of a commit id: 7 or more hexadecimal digits, but not all of them.
    #[must_use]
    pub fn is_abbreviated_commit_id(&self) -> bool {
        (7..64).contains(&self.0.len()) && self.0.len() != 40 && self.is_hexadecimal()
    }

    /// Reports whether this is a full ref name such as `refs/pull/7/head`, or `HEAD`.
    #[must_use]
    pub fn is_full_ref(&self) -> bool {
        self.0 == "HEAD" || self.0.starts_with("refs/")
    }

    fn is_hexadecimal(&self) -> bool {
        self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns `main` for a blank name, otherwise the name.
#[must_use]
pub fn or_default(text: &str) -> &str {
    if text.trim().is_empty() { crate::env::default::BRANCH } else { text }
}

fn malformed(name: &str) -> Option<&'static str> {
    let rules: [(bool, &'static str); 8] = [
        (name.len() > MAX_REF, "it is longer than 255 bytes"),
        (name.contains(|c: char| c.is_control() || c.is_whitespace()), "it contains white space"),
        (name.contains(['~', '^', ':', '?', '*', '[', '\\']), "it contains one of ~ ^ : ? * [ \\"),
        (name.contains("..") || name.contains("@{") || name == "@", "it contains `..` or `@{`"),
        (name.starts_with(['/', '-']) || name.ends_with('/'), "it starts with / or -, or ends with /"),
        (name.contains("//"), "it contains //"),
        (name.ends_with('.'), "it ends with a dot"),
        (
            name.split('/').any(|part| part.starts_with('.') || part.as_bytes().ends_with(b".lock")),
            "a part of it starts with a dot or ends with .lock",
        ),
    ];
    rules.into_iter().find_map(|(broken, why)| broken.then_some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_git_accepts() {
        for name in ["main", "feature/x-1", "v1.2.3", "ümlaut", "a@b", &"a1".repeat(20)] {
            assert_eq!(RefName::parse(name).unwrap().as_str(), name);
        }
        assert!(RefName::parse(&"0f".repeat(20)).unwrap().is_commit_id());
        assert!(RefName::parse(&"0f".repeat(32)).unwrap().is_commit_id());
        assert!(!RefName::parse("0f0f").unwrap().is_commit_id());
    }

    #[test]
    fn classifies_full_refs_and_abbreviated_commit_ids() {
        for (name, full, abbreviated) in [
            ("HEAD", true, false),
            ("refs/pull/7/head", true, false),
            ("main", false, false),
            ("deadbee", false, true),
            ("deadbe", false, false),
            ("deadbeeg", false, false),
        ] {
            let name = RefName::parse(name).unwrap();
            assert_eq!((name.is_full_ref(), name.is_abbreviated_commit_id()), (full, abbreviated), "{name}");
        }
        assert!(!RefName::parse(&"a".repeat(40)).unwrap().is_abbreviated_commit_id());
    }

    #[test]
    fn blank_means_main() {
        assert_eq!(RefName::parse("").unwrap().as_str(), "main");
        assert_eq!(RefName::parse("  ").unwrap().as_str(), "main");
    }

    #[test]
    fn rejects_refs_that_git_rejects() {
        for name in [
            "a b",
            "a\nb",
            " main",
            "a..b",
            "a^",
            "a~1",
            "a:b",
            "-x",
            "/a",
            "a/",
            "a//b",
            "a.",
            ".a",
            "x/.y",
            "a.lock",
            "a@{1}",
            "@",
            "a\\b",
            &"x".repeat(300),
        ] {
            assert!(RefName::parse(name).is_err(), "{name:?}");
        }
    }
}
