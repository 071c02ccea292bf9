//! The directory inside the repository that is delivered.

use std::fmt;

/// Longest path, in bytes: it must fit into the termination message.
pub const MAX_PATH: usize = 1024;

/// A path that cannot name a directory in a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path `{0}` must not contain `..`")]
    Parent(String),
    #[error("the path `{0}` must not contain a backslash; directories are separated by `/`")]
    Backslash(String),
    /// A NUL or another control character.
    #[error("the path `{0}` must not contain control characters")]
    Control(String),
    /// Above [`MAX_PATH`].
    #[error("the path is {0} bytes long; at most {MAX_PATH} are supported")]
    TooLong(usize),
}

/// A directory inside a repository, relative to its root; empty means the whole repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct RepoPath(String);

impl RepoPath {
    /// Parses a path: surrounding white space, leading and trailing `/`, empty and `.` segments are dropped.
    ///
    /// # Errors
    /// [`PathError`] for `..`, backslashes, control characters and excessive length.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let shown = || crate::text::sanitize(text);
        let trimmed = text.trim();
        if trimmed.contains('\\') {
            return Err(PathError::Backslash(shown()));
        }
        if trimmed.contains(char::is_control) {
            return Err(PathError::Control(shown()));
        }
        let mut segments = Vec::new();
        for segment in trimmed.split('/') {
            match segment {
                "" | "." => {}
                ".." => return Err(PathError::Parent(shown())),
                other => segments.push(other),
            }
        }
        let path = segments.join("/");
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong(path.len()));
        }
        Ok(Self(path))
    }

    /// Returns the path with single slashes inside and none around; empty for the whole repository.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the path's segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_what_does_not_name_a_directory() {
        for (text, path) in [
            ("", ""),
            ("  ", ""),
            ("/", ""),
            (".", ""),
            ("a", "a"),
            (" /a//b/./c/ ", "a/b/c"),
            ("./a", "a"),
            ("..a/b..", "..a/b.."),
            ("with space/ü", "with space/ü"),
        ] {
            assert_eq!(RepoPath::parse(text).map(|p| p.0), Ok(path.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn rejects_paths_out_of_the_repository_and_hidden_characters() {
        for text in ["..", "a/../b", "a/..", "a\\b", "a\0b", "a\nb", &"x/".repeat(MAX_PATH)] {
            assert!(RepoPath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn segments_lead_from_the_root_down() {
        let path = RepoPath::parse("a/b/c").unwrap();
        assert_eq!(path.segments().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(RepoPath::default().segments().count(), 0);
    }
}
