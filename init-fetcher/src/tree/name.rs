//! Names that must not be written, in every spelling that some file system takes for them.
//!
//! The volume is a Linux one, but its content may travel: the rules are those that git itself applies
//! everywhere (`core.protectNTFS`, `core.protectHFS`).

/// Returns the reason for which a name must not be written; `None` for a safe one.
pub fn unsafe_reason(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        Some("an empty name")
    } else if name == b"." || name == b".." {
        Some("the name `.` or `..`")
    } else if name.contains(&b'/') || name.contains(&0) {
        Some("a name with a slash or NUL in it")
    } else if name.len() > MAX_NAME {
        Some("a name of more than 255 bytes")
    } else if is_dot_git(name) {
        Some("an entry that is `.git` or that some file systems take for it")
    } else {
        None
    }
}

/// Longest name that Linux file systems take, in bytes.
const MAX_NAME: usize = 255;

/// Reports whether a name is `.git` on some file system. Windows takes a backslash for a separator, so each
/// part between backslashes counts.
pub fn is_dot_git(name: &[u8]) -> bool {
    name.split(|&b| b == b'\\').any(|part| is_ntfs_dot_git(part) || is_hfs(part, ".git"))
}

/// Reports whether a name is `.gitmodules` on some file system: as a link it would make git read its list of
/// submodules elsewhere.
pub fn is_dot_gitmodules(name: &[u8]) -> bool {
    is_hfs(name, ".gitmodules") || {
        let name = ntfs_name(name);
        name.eq_ignore_ascii_case(b".gitmodules")
            || short_of(name, b"gitmod~").is_some_and(|n| matches!(n, b"1" | b"2" | b"3" | b"4"))
            || short_of(name, b"gi7eba~").is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
    }
}

/// Returns the rest of a short name with this prefix.
fn short_of<'a>(name: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// NTFS ignores case, trailing dots and spaces, and what follows a colon; `git~1` is the short name
/// that it gives to `.git`.
fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let name = ntfs_name(name);
    name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1")
}

/// Returns the part of a name that NTFS compares.
fn ntfs_name(name: &[u8]) -> &[u8] {
    let name = name.split(|&b| b == b':').next().unwrap_or_default();
    let end = name.iter().rposition(|&b| b != b' ' && b != b'.').map_or(0, |at| at + 1);
    &name[..end]
}

/// HFS+ ignores case and a list of invisible code points.
fn is_hfs(name: &[u8], expected: &str) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let mut visible = name.chars().filter(|&c| !is_ignored_by_hfs(c)).map(|c| c.to_ascii_lowercase());
    let mut expected = expected.chars();
    loop {
        match (visible.next(), expected.next()) {
            (None, None) => return true,
            (a, b) if a != b => return false,
            _ => {}
        }
    }
}

/// The code points that HFS+ leaves out of comparisons, as listed in git's `utf8.c`.
fn is_ignored_by_hfs(c: char) -> bool {
    matches!(
        c,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_dot_git_in_every_spelling() {
        for name in [
            ".git",
            ".GIT",
            ".gIt",
            ".git ",
            ".git. .",
            ".git...",
            ".git:x",
            ".git::$INDEX_ALLOCATION",
            "git~1",
            "GIT~1",
            "GiT~1. ",
            "git~1:stream",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".GI\u{202e}T\u{206f}",
            "a\\.git",
            ".git\\hooks",
            "x\\GIT~1\\y",
        ] {
            assert!(unsafe_reason(name.as_bytes()).is_some(), "{name:?}");
        }
    }

    #[test]
    fn knows_the_list_of_submodules_in_every_spelling() {
        for name in
            [".gitmodules", ".GitModules. ", "GITMOD~1", "gitmod~4", "gi7eba~12", ".git\u{200d}modules"]
        {
            assert!(is_dot_gitmodules(name.as_bytes()), "{name:?}");
        }
        for name in [".gitmodule", "gitmodules", "gitmod~5", "gitmod~", "gi7eba~", "gi7eba~x", ".gitignore"] {
            assert!(!is_dot_gitmodules(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn rejects_invalid_names() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(unsafe_reason(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn accepts_names_that_only_look_similar() {
        for name in [
            ".gitignore",
            ".gitattributes",
            ".gitmodules",
            ".github",
            "git",
            "git~2",
            "git~10",
            ".gi",
            ".git1",
            "x.git",
            "...",
            "..a",
            "a..",
            "a\\b",
            "a b",
            "ümlaut",
            "a\nb",
        ] {
            assert_eq!(unsafe_reason(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(unsafe_reason(b"\xff\xfe"), None);
        assert_eq!(unsafe_reason(&[b'x'; 255]), None);
    }
}
