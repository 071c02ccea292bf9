//! Git's index of the delivered repository, written through libgit2.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{Index, IndexEntry, IndexTime, ObjectFormat};
use rustix::io::Errno;

use super::CheckoutError;
use crate::tree::object::EntryMode;
use crate::tree::plan::PlannedEntry;
use crate::volume::VolumeError;

/// Flag of an entry that git takes for unchanged whether or not its file exists.
const SKIP_WORKTREE: u16 = 1 << 14;

/// git's index, filled while files are written.
pub struct Recorder {
    index: Index,
    file: PathBuf,
    /// Files get this time: an index entry counts as clean only if its file is older than the index.
    pub mtime: SystemTime,
}

impl Recorder {
    /// An empty index, to be written to this file. Files will have the commit's time (Unix seconds), but
    /// not one of the future.
    ///
    /// # Errors
    /// [`git2::Error`].
    pub fn new(
        file: &Path,
        format: ObjectFormat,
        commit_time: i64,
        now: SystemTime,
    ) -> Result<Self, git2::Error> {
        let latest = now.checked_sub(Duration::from_secs(2)).unwrap_or(SystemTime::UNIX_EPOCH);
        let seconds = Duration::from_secs(u64::try_from(commit_time).unwrap_or(0));
        let commit = SystemTime::UNIX_EPOCH.checked_add(seconds).unwrap_or(latest);
        Ok(Self { index: Index::open_ext(file, format)?, file: file.to_owned(), mtime: commit.min(latest) })
    }

    /// Writes the index.
    ///
    /// # Errors
    /// [`CheckoutError::Volume`], or what else libgit2 says.
    pub fn write(mut self) -> Result<(), CheckoutError> {
        self.index.write().map_err(|error| match errno_in(error.message()) {
            Some(errno) => VolumeError::new("write", &self.file, errno.into()).into(),
            None => error.into(),
        })
    }

    /// Adds an entry that is not written, so that `git status` does not report it as deleted.
    pub fn add_skipped(&mut self, item: &PlannedEntry) -> Result<(), git2::Error> {
        let Some(entry) = entry(item) else { return Ok(()) };
        self.index.add(&IndexEntry { flags_extended: SKIP_WORKTREE, ..entry })
    }

    /// Adds a file that was written; directories are not part of an index.
    pub fn add(&mut self, item: &PlannedEntry, metadata: &fs::Metadata) -> Result<(), git2::Error> {
        let Some(entry) = entry(item) else { return Ok(()) };
        // The index keeps the low 32 bits of all of these; git compares no more.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let entry = IndexEntry {
            ctime: IndexTime::new(metadata.ctime() as i32, metadata.ctime_nsec() as u32),
            mtime: IndexTime::new(metadata.mtime() as i32, metadata.mtime_nsec() as u32),
            dev: metadata.dev() as u32,
            ino: metadata.ino() as u32,
            uid: metadata.uid(),
            gid: metadata.gid(),
            file_size: metadata.size() as u32,
            ..entry
        };
        self.index.add(&entry)
    }
}

/// An entry without what the file system says of its file; `None` for a directory.
pub fn entry(item: &PlannedEntry) -> Option<IndexEntry> {
    let mode = match item.kind {
        EntryMode::File(true) => 0o100_755,
        EntryMode::File(false) => 0o100_644,
        EntryMode::Symlink => 0o120_000,
        EntryMode::Submodule => 0o160_000,
        EntryMode::Tree => return None,
    };
    let time = IndexTime::new(0, 0);
    Some(IndexEntry {
        ctime: time,
        mtime: time,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: item.oid,
        flags: 0,
        flags_extended: 0,
        path: item.path.clone(),
    })
}

/// Parses the system's error from libgit2's message: it ends in the system's own text, and the number is lost.
fn errno_in(words: &str) -> Option<Errno> {
    [Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::PERM, Errno::ROFS].into_iter().find(|errno| {
        let system = io::Error::from(*errno).to_string();
        let system = system.split(" (os error").next().unwrap_or_default();
        words.ends_with(system)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_reason_is_found_in_other_words() {
        assert_eq!(errno_in("failed to write out file: No space left on device"), Some(Errno::NOSPC));
        assert_eq!(errno_in("failed to open 'x': Permission denied"), Some(Errno::ACCESS));
        assert_eq!(errno_in("the index is locked"), None);
    }

    #[test]
    fn files_are_never_younger_than_the_index() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let at =
            |time| Recorder::new(Path::new("/nowhere/index"), ObjectFormat::Sha1, time, now).unwrap().mtime;
        assert_eq!(at(500), SystemTime::UNIX_EPOCH + Duration::from_secs(500));
        for time in [999, 1000, 5000, i64::MAX] {
            assert_eq!(at(time), now - Duration::from_secs(2), "{time}");
        }
        assert_eq!(at(-5), SystemTime::UNIX_EPOCH);
    }
}
