//! The branch, tag or commit that is asked for.

use std::fmt;

/// Longest name, in bytes: it must fit into the termination message.
pub const MAX_REF: usize = 255;

/// A name that git could not give to a branch or tag (the rules of `git check-ref-format`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` can't be the name of a branch, tag or commit: {why}")]
pub struct RefError {
    name: String,
    why: &'static str,
}

/// A branch, tag or full commit id as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefName(String);

impl RefName {
    /// Reads a name; blank means `main`.
    ///
    /// # Errors
    /// [`RefError`] for a name that no branch or tag can have.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let name = or_default(text);
        match malformed(name) {
            Some(why) => Err(RefError { name: crate::text::sanitize(name), why }),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this could be a full commit id: 40 hexadecimal digits.
    #[must_use]
    pub fn is_commit_id(&self) -> bool {
        self.0.len() == 40 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The branch that a blank name stands for, else the name itself.
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
        assert!(!RefName::parse("0f0f").unwrap().is_commit_id());
    }

    #[test]
    fn blank_means_main() {
        assert_eq!(RefName::parse("").unwrap().as_str(), "main");
        assert_eq!(RefName::parse("  ").unwrap().as_str(), "main");
    }

    #[test]
    fn rejects_what_git_rejects() {
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
