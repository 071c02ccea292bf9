//! One tree object: its entries, as bytes, without second-guessing what the server may have meant.

use git2::{ObjectFormat, Oid};

use crate::oid;

/// Mode of an entry. Historic permission bits (`100664`) count as the nearest of these, as in git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryMode {
    Tree,
    /// A file; `true` where executable.
    File(bool),
    Symlink,
    /// A submodule: a commit of some other repository.
    Submodule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    /// What it is.
    pub kind: EntryMode,
    /// Its name, not judged yet.
    pub name: &'a [u8],
    pub oid: Oid,
}

/// A tree object that is well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree<'a> {
    data: &'a [u8],
    len: usize,
    format: ObjectFormat,
}

impl<'a> Tree<'a> {
    /// Number of entries.
    pub fn len(self) -> usize {
        self.len
    }

    /// The entries, read one by one: a list of them would cost more than the tree itself.
    pub fn entries(self) -> impl Iterator<Item = TreeEntry<'a>> {
        let mut rest = self.data;
        std::iter::from_fn(move || next(&mut rest, self.format))
    }
}

/// Reads a tree object's content; `None` where it is malformed.
pub fn parse(data: &[u8], format: ObjectFormat) -> Option<Tree<'_>> {
    let (mut rest, mut len) = (data, 0);
    while !rest.is_empty() {
        next(&mut rest, format)?;
        len += 1;
    }
    Some(Tree { data, len, format })
}

fn next<'a>(rest: &mut &'a [u8], format: ObjectFormat) -> Option<TreeEntry<'a>> {
    let size = oid::size(format);
    let space = rest.iter().take(8).position(|&b| b == b' ')?;
    let kind = kind(&rest[..space])?;
    let after = &rest[space + 1..];
    let nul = after.iter().position(|&b| b == 0)?;
    let (name, after) = (&after[..nul], &after[nul + 1..]);
    let oid = Oid::from_bytes(after.get(..size)?).ok()?;
    *rest = &after[size..];
    Some(TreeEntry { kind, name, oid })
}

fn kind(mode: &[u8]) -> Option<EntryMode> {
    let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
    match mode & 0o170_000 {
        0o040_000 => Some(EntryMode::Tree),
        0o100_000 => Some(EntryMode::File(mode & 0o100 != 0)),
        0o120_000 => Some(EntryMode::Symlink),
        0o160_000 => Some(EntryMode::Submodule),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(mode: &str, name: &[u8]) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[7; 20]].concat()
    }

    #[test]
    fn reads_every_kind() {
        for (mode, expected) in [
            ("40000", EntryMode::Tree),
            ("040000", EntryMode::Tree),
            ("100644", EntryMode::File(false)),
            ("100664", EntryMode::File(false)),
            ("100755", EntryMode::File(true)),
            ("120000", EntryMode::Symlink),
            ("160000", EntryMode::Submodule),
        ] {
            let data = [raw(mode, b"a"), raw(mode, b"b c")].concat();
            let tree = parse(&data, ObjectFormat::Sha1).unwrap();
            let entries: Vec<_> = tree.entries().collect();
            assert_eq!(tree.len(), 2);
            assert_eq!(entries.iter().map(|e| e.kind).collect::<Vec<_>>(), [expected, expected], "{mode}");
            assert_eq!(entries[1].name, b"b c");
        }
        assert_eq!(parse(b"", ObjectFormat::Sha1).unwrap().len(), 0);
    }

    #[test]
    fn rejects_trees_that_git_cannot_write() {
        let good = raw("100644", b"a");
        for cut in 1..good.len() {
            assert_eq!(parse(&good[..cut], ObjectFormat::Sha1), None, "cut at {cut}");
        }
        for mode in ["0", "999999", "10064x", "020000", "060000", "140000", "-100644", ""] {
            assert_eq!(parse(&raw(mode, b"a"), ObjectFormat::Sha1), None, "{mode}");
        }
    }
}
