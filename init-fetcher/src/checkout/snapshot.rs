//! A snapshot of a published directory, to detect changes by another program.
//!
//! The platform's runner replaces the directory of a workflow in place: it may remove or overwrite files of what was
//! published while it does so.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Every file of a directory, by what changes with its content. The top-level `.git` is left out: git itself writes to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Mark>);

#[derive(Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    /// Of a file: mode, size, and times of modification and change in ns.
    content: Option<(u32, u64, [i64; 4])>,
}

impl Snapshot {
    /// Reads a directory.
    ///
    /// # Errors
    /// Those of the file system, also for an entry that vanishes meanwhile.
    pub fn take(directory: &Path) -> io::Result<Self> {
        let mut marks = BTreeMap::new();
        let mut left = vec![PathBuf::new()];
        while let Some(below) = left.pop() {
            for entry in fs::read_dir(directory.join(&below))? {
                let entry = entry?;
                let path = below.join(entry.file_name());
                if path == Path::new(".git") {
                    continue;
                }
                let metadata = entry.metadata()?;
                marks.insert(path.clone(), Mark::of(&metadata));
                if metadata.is_dir() {
                    left.push(path);
                }
            }
        }
        Ok(Self(marks))
    }
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        let content = (metadata.mode(), metadata.size(), times);
        Self { inode: metadata.ino(), content: (!metadata.is_dir()).then_some(content) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_is_no_change_and_every_write_is_one() {
        type Write = fn(&Path);
        let writes: [Write; 5] = [
            |at| fs::write(at.join("a/file"), "other").unwrap(),
            |at| fs::write(at.join("new"), "").unwrap(),
            |at| fs::remove_file(at.join("a/file")).unwrap(),
            |at| fs::create_dir(at.join("a/new")).unwrap(),
            |at| fs::remove_dir_all(at).unwrap(),
        ];
        for write in writes {
            let root = tempfile::tempdir().unwrap();
            let (built, place) = (root.path().join("built"), root.path().join("place"));
            fs::create_dir_all(built.join("a")).unwrap();
            fs::create_dir_all(built.join(".git")).unwrap();
            fs::write(built.join("a/file"), "x").unwrap();
            let before = Snapshot::take(&built).unwrap();
            fs::rename(&built, &place).unwrap();
            fs::write(place.join(".git/index"), "").unwrap();
            assert_eq!(Snapshot::take(&place).unwrap(), before);
            write(&place);
            assert_ne!(Snapshot::take(&place).ok(), Some(before));
        }
    }
}
