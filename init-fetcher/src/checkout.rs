//! Writes a plan to disk: bytes as they are in git, no attributes, filters or line endings applied.
//!
//! The directory is new and nobody else knows it, and every path in the plan was judged before. Modes come
//! from the process's umask of 0002: what the owner may, the group may too.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{Index, IndexEntry, IndexTime};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::io::Errno;

use crate::run::Run;
use crate::store::Store;
use crate::transport::TransportError;
use crate::tree::object::Kind;
use crate::tree::plan::{Item, Plan};
use crate::tree::{TreeError, shown};
use crate::volume::VolumeError;

/// Why a plan could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// An object disappeared between planning and writing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// An object could not be read back or written.
    #[error(transparent)]
    Store(#[from] TransportError),
    /// git's index could not be made.
    #[error("failed to write git's index: {0}")]
    Index(#[from] git2::Error),
}

/// What was found while writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that are Git LFS pointers.
    pub lfs_pointers: u64,
}

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
    /// What libgit2 says.
    pub fn new(file: &Path, commit_time: i64, now: SystemTime) -> Result<Self, git2::Error> {
        let latest = now.checked_sub(Duration::from_secs(2)).unwrap_or(SystemTime::UNIX_EPOCH);
        let seconds = Duration::from_secs(u64::try_from(commit_time).unwrap_or(0));
        let commit = SystemTime::UNIX_EPOCH.checked_add(seconds).unwrap_or(latest);
        Ok(Self { index: Index::open(file)?, file: file.to_owned(), mtime: commit.min(latest) })
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

    fn add(&mut self, item: &Item, metadata: &fs::Metadata) -> Result<(), git2::Error> {
        let mode = match item.kind {
            Kind::File(true) => 0o100_755,
            Kind::File(false) => 0o100_644,
            Kind::Symlink => 0o120_000,
            Kind::Submodule => 0o160_000,
            Kind::Tree => return Ok(()),
        };
        // The index keeps the low 32 bits of all of these; git compares no more.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let entry = IndexEntry {
            ctime: IndexTime::new(metadata.ctime() as i32, metadata.ctime_nsec() as u32),
            mtime: IndexTime::new(metadata.mtime() as i32, metadata.mtime_nsec() as u32),
            dev: metadata.dev() as u32,
            ino: metadata.ino() as u32,
            mode,
            uid: metadata.uid(),
            gid: metadata.gid(),
            file_size: metadata.size() as u32,
            id: item.oid,
            flags: 0,
            flags_extended: 0,
            path: item.path.clone(),
        };
        self.index.add(&entry)
    }
}

/// Why the system refused, out of libgit2's words: they end as the system's own do, and the number is lost.
fn errno_in(words: &str) -> Option<Errno> {
    [Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::PERM, Errno::ROFS].into_iter().find(|errno| {
        let system = io::Error::from(*errno).to_string();
        let system = system.split(" (os error").next().unwrap_or_default();
        words.ends_with(system)
    })
}

/// Writes everything in the plan below `directory`, which must be there and empty.
///
/// # Errors
/// [`CheckoutError`].
pub fn write(
    plan: &Plan,
    store: &Store,
    directory: &Path,
    mut recorder: Option<&mut Recorder>,
    run: &Run,
) -> Result<Written, CheckoutError> {
    let mut written = Written::default();
    for item in &plan.items {
        run.checkpoint();
        let path = directory.join(std::ffi::OsStr::from_bytes(&item.path));
        let failed = |doing| {
            let path = path.clone();
            move |error| VolumeError::new(doing, &path, error)
        };
        let metadata = match item.kind {
            Kind::Tree => {
                fs::create_dir(&path).map_err(failed("create the directory"))?;
                continue;
            }
            Kind::Submodule => {
                fs::create_dir(&path).map_err(failed("create the directory"))?;
                fs::symlink_metadata(&path)
            }
            Kind::Symlink => {
                let target = plan.links.get(&item.path).map_or(&[][..], Vec::as_slice);
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &path)
                    .map_err(failed("create the symlink"))?;
                fs::symlink_metadata(&path)
            }
            Kind::File(executable) => {
                let missing = || TreeError::Missing { oid: item.oid, path: shown(&item.path) };
                let lfs_pointer = store.deliver(item.oid, &path)?.ok_or_else(missing)?;
                written.lfs_pointers += u64::from(lfs_pointer);
                let mtime = recorder.as_ref().map(|recorder| recorder.mtime);
                finish(&path, executable, mtime).map_err(failed("write"))?;
                fs::symlink_metadata(&path)
            }
        };
        if let Some(recorder) = recorder.as_deref_mut() {
            recorder.add(item, &metadata.map_err(failed("look at"))?)?;
        }
    }
    Ok(written)
}

/// Gives a file its mode and its time.
fn finish(path: &Path, executable: bool, mtime: Option<SystemTime>) -> io::Result<()> {
    if executable {
        fs::set_permissions(path, fs::Permissions::from_mode(0o775))?;
    }
    if let Some(mtime) = mtime {
        let since = mtime.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = Timespec {
            tv_sec: since.as_secs().try_into().unwrap_or_default(),
            tv_nsec: since.subsec_nanos().into(),
        };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
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
        let at = |time| Recorder::new(Path::new("/nowhere/index"), time, now).unwrap().mtime;
        assert_eq!(at(500), SystemTime::UNIX_EPOCH + Duration::from_secs(500));
        for time in [999, 1000, 5000, i64::MAX] {
            assert_eq!(at(time), now - Duration::from_secs(2), "{time}");
        }
        assert_eq!(at(-5), SystemTime::UNIX_EPOCH);
    }
}
