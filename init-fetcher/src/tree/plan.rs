//! From a tree to the list of what will be written, within limits and by the path policy.

use std::collections::HashSet;

use git2::Oid;

use super::object::{self, Kind};
use super::symlink::{self, Follower, Links};
use super::{TreeError, name, shown};
use crate::config::Limits;
use crate::pack::Objects;

/// Directories within directories at most. Real repositories stay below 40.
const MAX_DEPTH: usize = 256;
/// Longest path at most, in bytes: with the volume's own path before it, it must stay below the
/// kernel's 4096.
const MAX_PATH: usize = 3500;

/// Bytes of paths and of links' targets for each file that is allowed, at most: all of them are in memory
/// at once.
const PATH_SHARE: u64 = 300;
/// Bytes of them that are allowed in any case.
const PATHS: u64 = 1 << 20;

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Path below the delivered directory; parts separated by `/`.
    pub path: Vec<u8>,
    /// What it is. A submodule becomes an empty directory.
    pub kind: Kind,
    /// The object.
    pub oid: Oid,
    /// Size of a file or of a link's target, in bytes.
    pub size: u64,
}

/// All that will be written, directories before what is in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of git's trees.
    pub items: Vec<Item>,
    /// Targets of the symlinks, by path.
    pub links: Links,
    /// Files and symlinks.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Submodules, which are left empty.
    pub submodules: u64,
}

/// Walks a tree into a plan.
///
/// # Errors
/// [`TreeError`] for the first thing that must not be written, is too large, malformed or missing.
pub fn plan(objects: &dyn Objects, root: Oid, limits: Limits) -> Result<Plan, TreeError> {
    let mut walk = Walk { objects, limits, directories: 0, ahead: 0, paths: 0, plan: Plan::default() };
    walk.tree(root, &[], 0)?;
    let plan = walk.plan;
    let mut follower = Follower::new(&plan.links);
    for item in plan.items.iter().filter(|item| item.kind == Kind::Symlink) {
        let target = plan.links.get(&item.path).map_or(&[][..], Vec::as_slice);
        if let Some(what) = follower.refused(&item.path, target) {
            return Err(TreeError::Unsafe { what, path: shown(&item.path) });
        }
    }
    Ok(plan)
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    limits: Limits,
    directories: u64,
    /// Entries of the directories being walked that were not reached yet. Each of these directories is in memory.
    ahead: u64,
    /// Bytes of paths and targets.
    paths: u64,
    plan: Plan,
}

impl Walk<'_> {
    fn tree(&mut self, oid: Oid, path: &[u8], depth: usize) -> Result<(), TreeError> {
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
            self.entry(&entry, joined(path, entry.name), depth)?;
        }
        Ok(())
    }

    /// Counts a directory's entries before the first of them is followed: together they are files and directories.
    fn look_ahead(&mut self, entries: u64) -> Result<(), TreeError> {
        self.ahead += entries;
        if self.plan.items.len() as u64 + self.ahead > self.limits.files.saturating_mul(2) {
            return Err(too_large(self.limits.files, "files", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &object::Entry, path: Vec<u8>, depth: usize) -> Result<(), TreeError> {
        let (kind, oid) = (entry.kind, entry.oid);
        self.count_path(path.len() as u64)?;
        let size = match kind {
            Kind::Tree | Kind::Submodule => {
                self.count_directory()?;
                self.plan.submodules += u64::from(kind == Kind::Submodule);
                self.plan.items.push(Item { path: path.clone(), kind, oid, size: 0 });
                return if kind == Kind::Tree { self.tree(oid, &path, depth + 1) } else { Ok(()) };
            }
            Kind::File(_) => {
                let size = self.objects.blob_size(oid);
                size.ok_or_else(|| TreeError::Missing { oid, path: shown(&path) })?
            }
            Kind::Symlink => self.link(oid, &path)?,
        };
        self.count_file(size)?;
        if path.len() > MAX_PATH {
            return Err(TreeError::TooDeep { path: shown(&path) });
        }
        self.plan.items.push(Item { path, kind, oid, size });
        Ok(())
    }

    fn link(&mut self, oid: Oid, path: &[u8]) -> Result<u64, TreeError> {
        let missing = || TreeError::Missing { oid, path: shown(path) };
        let size = self.objects.blob_size(oid).ok_or_else(missing)?;
        if size > symlink::MAX_TARGET {
            let what = "a symlink with a target of more than 4095 bytes";
            return Err(TreeError::Unsafe { what, path: shown(path) });
        }
        let target = self.objects.blob(oid)?.ok_or_else(missing)?;
        self.count_path(size + path.len() as u64)?;
        self.plan.links.insert(path.to_vec(), target);
        Ok(size)
    }

    fn count_file(&mut self, size: u64) -> Result<(), TreeError> {
        self.plan.files += 1;
        self.plan.bytes = self.plan.bytes.saturating_add(size);
        if self.plan.files > self.limits.files {
            return Err(too_large(self.limits.files, "files", "WORKFLOW_MAX_FILES"));
        }
        if self.plan.bytes > self.limits.bytes {
            return Err(too_large(self.limits.bytes, "bytes", "WORKFLOW_MAX_BYTES"));
        }
        Ok(())
    }

    fn count_path(&mut self, bytes: u64) -> Result<(), TreeError> {
        let limit = self.limits.files.saturating_mul(PATH_SHARE).saturating_add(PATHS);
        self.paths += bytes;
        if self.paths > limit {
            return Err(too_large(limit, "bytes of paths and symlinks", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }

    fn count_directory(&mut self) -> Result<(), TreeError> {
        self.directories += 1;
        if self.directories > self.limits.files {
            return Err(too_large(self.limits.files, "directories", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }
}

/// Refuses a directory for a name in it, before anything in it is looked at.
fn judge(tree: object::Tree, path: &[u8]) -> Result<(), TreeError> {
    let mut names = HashSet::with_capacity(tree.len());
    for entry in tree.entries() {
        let twice = || (!names.insert(entry.name)).then_some("two entries of the same name");
        let link = entry.kind == Kind::Symlink && name::is_dot_gitmodules(entry.name);
        let link = link.then_some("a symlink that git takes for its list of submodules");
        if let Some(what) = name::refused(entry.name).or(link).or_else(twice) {
            return Err(TreeError::Unsafe { what, path: shown(&joined(path, entry.name)) });
        }
    }
    Ok(())
}

fn too_large(limit: u64, unit: &'static str, setting: &'static str) -> TreeError {
    TreeError::TooLarge { limit, unit, setting }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::PackError;
    use std::collections::HashMap;
    use std::time::Duration;

    /// Objects by id, made on the spot.
    #[derive(Default)]
    struct Made {
        trees: HashMap<Oid, Vec<u8>>,
        blobs: HashMap<Oid, Vec<u8>>,
    }

    impl Made {
        fn put_blob(&mut self, data: &[u8]) -> Oid {
            let oid = Oid::hash_object(git2::ObjectType::Blob, data).unwrap();
            self.blobs.insert(oid, data.to_vec());
            oid
        }

        fn put_tree(&mut self, entries: &[(&str, &[u8], Oid)]) -> Oid {
            let mut data = Vec::new();
            for (mode, name, oid) in entries {
                data.extend([mode.as_bytes(), b" ", *name, b"\0", oid.as_bytes()].concat());
            }
            // A hash of its own kind keeps hostile trees out of the library's checks.
            let oid = Oid::hash_object(git2::ObjectType::Blob, &data).unwrap();
            self.trees.insert(oid, data);
            oid
        }
    }

    impl Objects for Made {
        fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
            Ok(self.trees.get(&oid).cloned())
        }
        fn blob_size(&self, oid: Oid) -> Option<u64> {
            self.blobs.get(&oid).map(|data| data.len() as u64)
        }
        fn blob(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
            Ok(self.blobs.get(&oid).cloned())
        }
    }

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 1000, files: 10 };

    #[test]
    fn lists_everything_directories_first() {
        let mut made = Made::default();
        let blob = made.put_blob(b"hello");
        let target = made.put_blob(b"../a");
        let sub = made.put_tree(&[("120000", b"l", target), ("100755", b"x", blob)]);
        let root = made.put_tree(&[("100644", b"a", blob), ("40000", b"d", sub), ("160000", b"m", blob)]);
        let plan = plan(&made, root, LIMITS).unwrap();
        let paths: Vec<_> = plan.items.iter().map(|item| String::from_utf8_lossy(&item.path)).collect();
        assert_eq!(paths, ["a", "d", "d/l", "d/x", "m"]);
        assert_eq!((plan.files, plan.bytes, plan.submodules), (3, 14, 1));
    }

    #[test]
    fn refuses_unsafe_names_at_any_depth() {
        for name in [&b".git"[..], b"..", b"GIT~1", b""] {
            let mut made = Made::default();
            let blob = made.put_blob(b"x");
            let sub = made.put_tree(&[("100644", name, blob)]);
            let root = made.put_tree(&[("40000", b"d", sub)]);
            assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })), "{name:?}");
        }
    }

    #[test]
    fn refuses_two_entries_of_one_name() {
        let mut made = Made::default();
        let blob = made.put_blob(b"x");
        let sub = made.put_tree(&[]);
        let root = made.put_tree(&[("120000", b"a", blob), ("40000", b"a", sub)]);
        assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })));
    }

    #[test]
    fn refuses_a_link_for_a_list_of_submodules() {
        let mut made = Made::default();
        let target = made.put_blob(b"a");
        let root = made.put_tree(&[("120000", b".gitmodules", target)]);
        assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Unsafe { .. })));
        let root = made.put_tree(&[("100644", b".gitmodules", target)]);
        assert!(plan(&made, root, LIMITS).is_ok());
    }

    /// Each directory on the way down is in memory for as long as there is more in it.
    #[test]
    fn directories_are_counted_with_all_that_is_in_them_before_they_are_entered() {
        let mut made = Made::default();
        let blob = made.put_blob(b"x");
        let names: Vec<String> = (0..15).map(|n| format!("z{n}")).collect();
        let mut tree = made.put_tree(&[]);
        for _ in 0..5 {
            let mut entries = vec![("40000", &b"a"[..], tree)];
            entries.extend(names.iter().map(|name| ("100644", name.as_bytes(), blob)));
            tree = made.put_tree(&entries);
        }
        // What is at the bottom must not be asked for.
        let empty = made.put_tree(&[]);
        made.trees.remove(&empty);
        assert!(matches!(plan(&made, tree, LIMITS), Err(TreeError::TooLarge { unit: "files", .. })));
    }

    #[test]
    fn paths_and_targets_are_held_within_limits_too() {
        let mut made = Made::default();
        let target = made.put_blob(&[b'x'; 4000]);
        let names: Vec<String> = (0..1000).map(|n| format!("{n}")).collect();
        let links: Vec<(&str, &[u8], Oid)> = names.iter().map(|n| ("120000", n.as_bytes(), target)).collect();
        let root = made.put_tree(&links);
        let limits = Limits { files: 1000, bytes: 1 << 30, ..LIMITS };
        let error = plan(&made, root, limits).unwrap_err();
        assert!(matches!(error, TreeError::TooLarge { unit: "bytes of paths and symlinks", .. }), "{error}");
    }

    #[test]
    fn refuses_links_out() {
        let mut made = Made::default();
        let target = made.put_blob(b"../../etc");
        let root = made.put_tree(&[("120000", b"a", target)]);
        let error = plan(&made, root, LIMITS).unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }

    #[test]
    fn holds_the_limits_before_it_runs_out_of_memory() {
        let mut made = Made::default();
        let blob = made.put_blob(&[0; 200]);
        let root = made.put_tree(&[
            ("100644", b"1", blob),
            ("100644", b"2", blob),
            ("100644", b"3", blob),
            ("100644", b"4", blob),
            ("100644", b"5", blob),
            ("100644", b"6", blob),
        ]);
        assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::TooLarge { unit: "bytes", .. })));

        // Ten directories of ten directories of …: 10^20 of them, in twenty small objects.
        let mut tree = made.put_tree(&[]);
        for _ in 0..20 {
            let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|digit| [digit]).collect();
            let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|n| ("40000", &n[..], tree)).collect();
            tree = made.put_tree(&entries);
        }
        let limits = Limits { files: 100_000, ..LIMITS };
        assert!(matches!(plan(&made, tree, limits), Err(TreeError::TooLarge { unit: "directories", .. })));
    }

    #[test]
    fn refuses_directories_nested_without_end() {
        let mut made = Made::default();
        let mut tree = made.put_tree(&[]);
        for _ in 0..MAX_DEPTH + 2 {
            tree = made.put_tree(&[("40000", b"d", tree)]);
        }
        let limits = Limits { files: 100_000, ..LIMITS };
        assert!(matches!(plan(&made, tree, limits), Err(TreeError::TooDeep { .. })));
    }

    #[test]
    fn an_object_that_was_not_sent_is_missed() {
        let mut made = Made::default();
        let nowhere = Oid::hash_object(git2::ObjectType::Blob, b"nowhere").unwrap();
        for mode in ["100644", "40000", "120000"] {
            let root = made.put_tree(&[(mode, b"a", nowhere)]);
            assert!(matches!(plan(&made, root, LIMITS), Err(TreeError::Missing { .. })), "{mode}");
        }
        assert!(matches!(plan(&made, nowhere, LIMITS), Err(TreeError::Missing { .. })));
    }
}
