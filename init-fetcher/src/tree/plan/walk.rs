//! Walks one directory into a plan, within limits that hold for all directories together.

use std::collections::HashSet;

use git2::Oid;

use super::types::{Plan, PlannedEntry, Submodule, Used};
use crate::config::Limits;
use crate::pack::Objects;
use crate::tree::object::{self, EntryMode};
use crate::tree::symlink::{self, Special};
use crate::tree::{TreeError, name, shown};

/// Directories within directories at most. Real repositories stay below 40.
pub const MAX_DEPTH: usize = 256;
/// Longest path at most, in bytes: with the volume's own path before it, it must stay below the
/// kernel's 4096.
const MAX_PATH: usize = 3500;

/// Bytes of paths and of links' targets for each file that is allowed, at most: all of them are in memory
/// at once.
const PATH_SHARE: u64 = 300;
/// Bytes of them that are allowed in any case.
const PATHS: u64 = 1 << 20;

pub struct Walk<'a> {
    objects: &'a dyn Objects,
    limits: Limits,
    used: Used,
    /// Entries of the directories being walked that were not reached yet. Each of these directories is in memory.
    ahead: u64,
    /// Bytes of paths and targets.
    paths: u64,
    /// Symlinks of the current region and submodules, by their path below the delivered directory.
    special: Special,
    pub plan: Plan,
}

/// The directory being walked.
#[derive(Clone, Copy)]
struct Region<'a> {
    source: &'a [u8],
    destination: &'a [u8],
}

impl<'a> Walk<'a> {
    pub fn new(objects: &'a dyn Objects, limits: Limits, used: Used) -> Self {
        Self { objects, limits, used, ahead: 0, paths: 0, special: Special::default(), plan: Plan::default() }
    }

    /// Adds a directory of the repository at its place in the delivery. Links are not judged yet and not counted as
    /// files.
    pub fn region(&mut self, tree: Oid, source: &[u8], destination: &[u8]) -> Result<Special, TreeError> {
        let depth = symlink::components(destination).len();
        let walked = self.tree(tree, destination, depth, Region { source, destination });
        self.ahead = 0;
        let special = std::mem::take(&mut self.special);
        walked.map(|()| special)
    }

    fn tree(&mut self, oid: Oid, path: &[u8], depth: usize, region: Region) -> Result<(), TreeError> {
        if depth > MAX_DEPTH || path.len() > MAX_PATH {
            return Err(TreeError::TooDeep { path: shown(path) });
        }
        let missing = || TreeError::Missing { oid, path: shown(path) };
        let data = self.objects.tree(oid)?.ok_or_else(missing)?;
        let tree = object::parse(&data, oid.object_format()).ok_or(TreeError::Malformed { oid })?;
        self.look_ahead(tree.len() as u64)?;
        judge(tree, path)?;
        for entry in tree.entries() {
            self.ahead -= 1;
            self.entry(&entry, joined(path, entry.name), depth, region)?;
        }
        Ok(())
    }

    /// Counts a directory's entries before the first of them is followed: together they are files and directories.
    fn look_ahead(&mut self, entries: u64) -> Result<(), TreeError> {
        self.ahead += entries;
        let reached = self.plan.items.len() + self.plan.skipped.len();
        if reached as u64 + self.ahead > self.limits.files.saturating_mul(2) {
            return Err(too_large(self.limits.files, "files", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &object::TreeEntry,
        path: Vec<u8>,
        depth: usize,
        region: Region,
    ) -> Result<(), TreeError> {
        let (kind, oid) = (entry.kind, entry.oid);
        self.count_path(path.len() as u64)?;
        let size = match kind {
            EntryMode::Tree => {
                self.count_directory()?;
                self.plan.items.push(PlannedEntry { path: path.clone(), kind, oid, size: 0 });
                return self.tree(oid, &path, depth + 1, region);
            }
            EntryMode::Submodule => {
                self.count_directory()?;
                self.submodule(oid, &path, region)?;
                0
            }
            EntryMode::File(_) => {
                let size = self.size_of(oid);
                let size = size.ok_or_else(|| TreeError::Missing { oid, path: shown(&path) })?;
                self.count_file(size)?;
                size
            }
            EntryMode::Symlink => self.link(oid, &path)?,
        };
        if path.len() > MAX_PATH {
            return Err(TreeError::TooDeep { path: shown(&path) });
        }
        self.plan.items.push(PlannedEntry { path, kind, oid, size });
        Ok(())
    }

    fn submodule(&mut self, commit: Oid, path: &[u8], region: Region) -> Result<(), TreeError> {
        let below = path.get(region.destination.len()..).unwrap_or_default();
        let source = joined(region.source, below.strip_prefix(b"/").unwrap_or(below));
        self.count_path((source.len() + path.len()) as u64)?;
        self.special.submodules.insert(path.to_vec());
        self.plan.submodules.push(Submodule { path: path.to_vec(), source, commit });
        Ok(())
    }

    fn link(&mut self, oid: Oid, path: &[u8]) -> Result<u64, TreeError> {
        let missing = || TreeError::Missing { oid, path: shown(path) };
        let size = self.size_of(oid).ok_or_else(missing)?;
        if size > symlink::MAX_TARGET {
            let what = "a symlink with a target of more than 4095 bytes";
            return Err(TreeError::Unsafe { what, path: shown(path) });
        }
        let target = self.objects.blob(oid)?.ok_or_else(missing)?;
        self.count_path(size + path.len() as u64)?;
        self.special.links.insert(path.to_vec(), target);
        Ok(size)
    }

    pub fn size_of(&self, blob: Oid) -> Option<u64> {
        self.objects.blob_size(blob)
    }

    pub fn count_file(&mut self, size: u64) -> Result<(), TreeError> {
        self.plan.files += 1;
        self.plan.bytes = self.plan.bytes.saturating_add(size);
        if self.used.files + self.plan.files > self.limits.files {
            return Err(too_large(self.limits.files, "files", "WORKFLOW_MAX_FILES"));
        }
        if self.used.bytes.saturating_add(self.plan.bytes) > self.limits.bytes {
            return Err(too_large(self.limits.bytes, "bytes", "WORKFLOW_MAX_BYTES"));
        }
        Ok(())
    }

    pub fn count_path(&mut self, bytes: u64) -> Result<(), TreeError> {
        let limit = self.limits.files.saturating_mul(PATH_SHARE).saturating_add(PATHS);
        self.paths += bytes;
        if self.paths > limit {
            return Err(too_large(limit, "bytes of paths and symlinks", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }

    pub fn count_directory(&mut self) -> Result<(), TreeError> {
        self.plan.directories += 1;
        if self.used.directories + self.plan.directories > self.limits.files {
            return Err(too_large(self.limits.files, "directories", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }
}

/// Rejects a directory for a name in it, before anything in it is read.
fn judge(tree: object::Tree, path: &[u8]) -> Result<(), TreeError> {
    let mut names = HashSet::with_capacity(tree.len());
    for entry in tree.entries() {
        let twice = || (!names.insert(entry.name)).then_some("two entries of the same name");
        let link = entry.kind == EntryMode::Symlink && name::is_dot_gitmodules(entry.name);
        let link = link.then_some("a symlink that git takes for its list of submodules");
        if let Some(what) = name::unsafe_reason(entry.name).or(link).or_else(twice) {
            return Err(TreeError::Unsafe { what, path: shown(&joined(path, entry.name)) });
        }
    }
    Ok(())
}

fn too_large(limit: u64, unit: &'static str, setting: &'static str) -> TreeError {
    TreeError::TooLarge { limit, unit, setting }
}

pub fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
