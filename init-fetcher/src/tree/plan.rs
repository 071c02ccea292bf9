//! From a tree to the list of what will be written, within limits and by the path policy.

use std::collections::{HashMap, HashSet};

use git2::Oid;

use super::object::{self, Kind};
use super::{TreeError, name, shown, symlink};
use crate::config::Limits;

/// Folders within folders at most. Real repositories stay below 40.
const MAX_DEPTH: usize = 256;
/// Longest path at most, in bytes: with the volume's own path before it, it must stay below the
/// kernel's 4096.
const MAX_PATH: usize = 3500;

/// The objects that a plan is made from.
pub trait Objects {
    /// A tree's content; `None` where there is no such tree.
    fn tree(&self, oid: Oid) -> Option<Vec<u8>>;
    /// A blob's size in bytes; `None` where there is no such blob.
    fn blob_size(&self, oid: Oid) -> Option<u64>;
    /// A blob's content; `None` where there is no such blob.
    fn blob(&self, oid: Oid) -> Option<Vec<u8>>;
}

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Path below the delivered folder; parts separated by `/`.
    pub path: Vec<u8>,
    /// What it is. A submodule becomes an empty folder.
    pub kind: Kind,
    /// The object.
    pub oid: Oid,
    /// Size of a file or of a link's target, in bytes.
    pub size: u64,
}

/// All that will be written, folders before what is in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of git's trees.
    pub items: Vec<Item>,
    /// Targets of the symlinks, by path.
    pub links: HashMap<Vec<u8>, Vec<u8>>,
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
    let mut walk = Walk { objects, limits, folders: 0, plan: Plan::default() };
    walk.tree(root, &[], 0)?;
    let plan = walk.plan;
    for (path, target) in &plan.links {
        if let Some(what) = symlink::refused(path, target, &plan.links) {
            return Err(TreeError::Unsafe { what, path: shown(path) });
        }
    }
    Ok(plan)
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    limits: Limits,
    folders: u64,
    plan: Plan,
}

impl Walk<'_> {
    fn tree(&mut self, oid: Oid, path: &[u8], depth: usize) -> Result<(), TreeError> {
        if depth > MAX_DEPTH || path.len() > MAX_PATH {
            return Err(TreeError::TooDeep { path: shown(path) });
        }
        let missing = || TreeError::Missing { oid, path: shown(path) };
        let data = self.objects.tree(oid).ok_or_else(missing)?;
        let entries = object::parse(&data).ok_or(TreeError::Malformed { oid })?;
        let mut names = HashSet::with_capacity(entries.len());
        for entry in entries {
            let path = joined(path, entry.name);
            if let Some(what) = name::refused(entry.name) {
                return Err(TreeError::Unsafe { what, path: shown(&path) });
            }
            if !names.insert(entry.name) {
                return Err(TreeError::Unsafe { what: "two entries of the same name", path: shown(&path) });
            }
            self.entry(&entry, path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &object::Entry, path: Vec<u8>, depth: usize) -> Result<(), TreeError> {
        let (kind, oid) = (entry.kind, entry.oid);
        let size = match kind {
            Kind::Tree | Kind::Submodule => {
                self.count_folder()?;
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
        let target = self.objects.blob(oid).ok_or_else(missing)?;
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

    fn count_folder(&mut self) -> Result<(), TreeError> {
        self.folders += 1;
        if self.folders > self.limits.files {
            return Err(too_large(self.limits.files, "folders", "WORKFLOW_MAX_FILES"));
        }
        Ok(())
    }
}

fn too_large(limit: u64, unit: &'static str, setting: &'static str) -> TreeError {
    TreeError::TooLarge { limit, unit, setting }
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        fn tree(&self, oid: Oid) -> Option<Vec<u8>> {
            self.trees.get(&oid).cloned()
        }
        fn blob_size(&self, oid: Oid) -> Option<u64> {
            self.blobs.get(&oid).map(|data| data.len() as u64)
        }
        fn blob(&self, oid: Oid) -> Option<Vec<u8>> {
            self.blobs.get(&oid).cloned()
        }
    }

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 1000, files: 10 };

    #[test]
    fn lists_everything_folders_first() {
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

        // Ten folders of ten folders of …: 10^20 of them, in twenty small objects.
        let mut tree = made.put_tree(&[]);
        for _ in 0..20 {
            let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|digit| [digit]).collect();
            let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|n| ("40000", &n[..], tree)).collect();
            tree = made.put_tree(&entries);
        }
        let limits = Limits { files: 100_000, ..LIMITS };
        assert!(matches!(plan(&made, tree, limits), Err(TreeError::TooLarge { unit: "folders", .. })));
    }

    #[test]
    fn refuses_folders_nested_without_end() {
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
