//! Names that must not be written, in every spelling that some file system takes for them.
//!
//! The volume is a Linux one, but its content may travel: the rules are those that git itself applies
//! everywhere (`core.protectNTFS`, `core.protectHFS`).

/// Why a name must not be written; `None` for a good one.
pub fn refused(name: &[u8]) -> Option<&'static str> {
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

/// Whether a name is `.git` on some file system. Windows takes a backslash for a separator, so each
/// part between backslashes counts.
pub fn is_dot_git(name: &[u8]) -> bool {
    name.split(|&b| b == b'\\').any(|part| is_ntfs_dot_git(part) || is_hfs_dot_git(part))
}

/// NTFS ignores case, trailing dots and spaces, and what follows a colon; `git~1` is the short name
/// that it gives to `.git`.
fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let name = name.split(|&b| b == b':').next().unwrap_or_default();
    let end = name.iter().rposition(|&b| b != b' ' && b != b'.').map_or(0, |at| at + 1);
    let name = &name[..end];
    name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1")
}

/// HFS+ ignores case and a list of invisible code points.
fn is_hfs_dot_git(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let mut visible = name.chars().filter(|&c| !is_ignored_by_hfs(c)).map(|c| c.to_ascii_lowercase());
    let mut expected = ".git".chars();
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
            assert!(refused(name.as_bytes()).is_some(), "{name:?}");
        }
    }

    #[test]
    fn rejects_names_that_are_no_names() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(refused(name).is_some(), "{name:?}");
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
            assert_eq!(refused(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(refused(b"\xff\xfe"), None);
        assert_eq!(refused(&[b'x'; 255]), None);
    }
}
