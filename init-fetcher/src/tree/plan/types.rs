//! The types of a plan.

use git2::Oid;

use crate::tree::object::EntryMode;
use crate::tree::symlink::Symlinks;

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEntry {
    /// Path below the delivered directory; parts separated by `/`.
    pub path: Vec<u8>,
    /// What it is. A submodule becomes an empty directory.
    pub kind: EntryMode,
    pub oid: Oid,
    /// Size of a file or of a link's target, in bytes.
    pub size: u64,
}

/// The part of a commit that is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Tree of the commit.
    pub root: Oid,
    /// Path of the delivered directory; empty for the whole repository.
    pub path: Vec<u8>,
    /// Tree of the delivered directory.
    pub tree: Oid,
}

impl Selection {
    pub fn whole(root: Oid) -> Self {
        Self { root, path: Vec::new(), tree: root }
    }
}

/// A submodule, whose directory is empty so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Path below the delivered directory.
    pub path: Vec<u8>,
    /// Path in the repository.
    pub source: Vec<u8>,
    pub commit: Oid,
}

/// All that will be written, directories before what is in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub items: Vec<PlannedEntry>,
    /// Targets of the symlinks, by path.
    pub links: Symlinks,
    /// Files and symlinks.
    pub files: u64,
    pub bytes: u64,
    pub directories: u64,
    pub submodules: Vec<Submodule>,
    /// Symlinks that are replaced by copies.
    pub replaced: u64,
    /// The first of them, fit for a message.
    pub first_replaced: Option<String>,
    /// Symlinks that are left out.
    pub skipped: Vec<PlannedEntry>,
    /// The first of them and the reason, fit for a message.
    pub first_skipped: Option<String>,
}

/// Use of the limits by other repositories of the delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub files: u64,
    pub bytes: u64,
    pub directories: u64,
}
