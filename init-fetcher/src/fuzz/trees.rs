//! Bytes as trees: what a plan accepts can be written, and stays inside the directory that it is written to.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use git2::{Index, IndexEntry, Oid};
use workflow_contract::{RepoPath, UnsafeLinks};

use crate::checkout::index;
use crate::config::Limits;
use crate::pack::{Objects, PackError};
use crate::tree::object::EntryMode;
use crate::tree::plan::{self, Plan, Planned, PlannedEntry, Selection, Used};
use crate::tree::subdir;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 1 << 20, files: 50 };

/// Objects, each of them tree and blob; an id's first byte says which one it is.
struct Any<'a>(Vec<&'a [u8]>);

impl<'a> Any<'a> {
    /// Each has its length, two bytes, before it.
    fn read(mut bytes: &'a [u8]) -> Self {
        let mut objects = Vec::new();
        while let [low, high, rest @ ..] = bytes {
            let (object, after) =
                rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
            objects.push(object);
            bytes = after;
        }
        Self(objects)
    }

    fn at(&self, oid: Oid) -> Option<&'a [u8]> {
        self.0.get(usize::from(oid.as_bytes()[0])).copied()
    }
}

impl Objects for Any<'_> {
    fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        Ok(self.at(oid).map(<[u8]>::to_vec))
    }
    fn blob_size(&self, oid: Oid) -> Option<u64> {
        self.at(oid).map(|data| data.len() as u64)
    }
    fn blob(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        Ok(self.at(oid).map(<[u8]>::to_vec))
    }
}

/// `dir` must be empty, and is again afterwards.
///
/// # Panics
/// If a claim does not hold.
pub fn trees(bytes: &[u8], dir: &Path) {
    let objects = Any::read(bytes);
    let root = Oid::from_bytes(&[0; 20]).unwrap();
    for path in ["", "a", "a/b"] {
        match subdir::find(&objects, root, &RepoPath::parse(path).unwrap()) {
            Ok(tree) => delivered(&objects, &Selection { root, path: path.into(), tree }, dir),
            Err(error) => one_line(&error.to_string()),
        }
    }
}

fn delivered(objects: &Any, selection: &Selection, dir: &Path) {
    let plan = match plan::plan(objects, selection, LIMITS, Used::default(), UnsafeLinks::Skip) {
        Ok(Planned::Complete(plan)) => plan,
        // Fetching it again would not help.
        Ok(Planned::Incomplete(needed)) => return assert!(!needed.is_empty()),
        Err(error) => return one_line(&error.to_string()),
    };
    if selection.path.is_empty() {
        assert_eq!(plan.replaced, 0, "a whole repository is delivered as it is");
    }
    assert_eq!(plan.first_skipped.is_some(), !plan.skipped.is_empty());
    for message in plan.first_skipped.iter().chain(&plan.first_replaced) {
        one_line(message);
    }
    assert!(plan.files <= LIMITS.files && plan.bytes <= LIMITS.bytes);
    let mut paths = HashSet::new();
    for item in &plan.items {
        assert!(paths.insert(&item.path), "twice: {:?}", shown(&item.path));
        assert!(item.path.split(|&b| b == b'/').all(is_name), "{:?}", shown(&item.path));
    }
    let directory = dir.join("delivered");
    fs::create_dir(&directory).unwrap();
    write(&plan, &directory);
    check_links(&plan, &directory);
    check_index(&plan);
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "something was written beside the directory");
}

fn one_line(message: &str) {
    assert!(!message.contains(['\n', '\r', '\0']) && message.len() < 3000, "{message:?}");
}

/// No name that leads up, none that any file system takes for `.git`.
fn is_name(name: &[u8]) -> bool {
    let plain: String = String::from_utf8_lossy(name)
        .to_lowercase()
        .chars()
        .filter(|c| !matches!(*c as u32, 0x200c..=0x200f | 0x202a..=0x202e | 0x206a..=0x206f | 0xfeff))
        .collect();
    let dot_git = |part: &str| {
        let part = part.split(':').next().unwrap().trim_end_matches([' ', '.']);
        part == ".git" || part == "git~1"
    };
    !matches!(name, b"" | b"." | b"..") && !name.contains(&0) && !plain.split('\\').any(dot_git)
}

fn at(directory: &Path, item: &PlannedEntry) -> std::path::PathBuf {
    directory.join(std::ffi::OsStr::from_bytes(&item.path))
}

/// As a checkout does: nothing is ever replaced.
fn write(plan: &Plan, directory: &Path) {
    for item in &plan.items {
        let path = at(directory, item);
        let written = match item.kind {
            EntryMode::Tree | EntryMode::Submodule => fs::create_dir(&path),
            EntryMode::File(_) => fs::File::create_new(&path).map(drop),
            EntryMode::Symlink => {
                let target = &plan.links[&item.path];
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &path)
            }
        };
        written.unwrap_or_else(|error| panic!("{:?}: {error}", shown(&item.path)));
    }
}

/// The kernel is asked where each link leads.
fn check_links(plan: &Plan, directory: &Path) {
    let directory = directory.canonicalize().unwrap();
    for item in plan.items.iter().filter(|item| item.kind == EntryMode::Symlink) {
        if let Ok(led_to) = at(&directory, item).canonicalize() {
            assert!(led_to.starts_with(&directory), "{:?} leads to {}", shown(&item.path), led_to.display());
        }
    }
}

/// git's index takes all of it.
fn check_index(plan: &Plan) {
    let mut index = Index::new().unwrap();
    for entry in plan.items.iter().filter_map(index::entry) {
        let entry = IndexEntry { id: Oid::from_bytes(&[7; 20]).unwrap(), ..entry };
        index.add(&entry).unwrap_or_else(|error| panic!("{:?}: {error}", shown(&entry.path)));
    }
    let entries = plan.items.iter().filter(|item| item.kind != EntryMode::Tree).count();
    assert_eq!(index.len(), entries);
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
