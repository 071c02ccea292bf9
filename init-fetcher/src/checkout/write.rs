//! Writes a plan to disk: bytes as they are in git, no attributes, filters or line endings applied.
//!
//! The directory is new and private to the run, and every path in the plan was checked before. Modes come
//! from the process's umask of 0002: what the owner may, the group may too.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::CheckoutError;
use super::index::Recorder;
use crate::pack::Checkpoint;
use crate::pack::store::Store;
use crate::tree::object::EntryMode;
use crate::tree::plan::Plan;
use crate::tree::{TreeError, shown};
use crate::volume::VolumeError;

/// Findings of the write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that are Git LFS pointers.
    pub lfs_pointers: u64,
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
    checkpoint: Checkpoint,
) -> Result<Written, CheckoutError> {
    let mut written = Written::default();
    for item in &plan.items {
        checkpoint();
        let path = directory.join(std::ffi::OsStr::from_bytes(&item.path));
        let failed = |doing| {
            let path = path.clone();
            move |error| VolumeError::new(doing, &path, error)
        };
        let metadata = match item.kind {
            EntryMode::Tree => {
                fs::create_dir(&path).map_err(failed("create the directory"))?;
                continue;
            }
            EntryMode::Submodule => {
                fs::create_dir(&path).map_err(failed("create the directory"))?;
                fs::symlink_metadata(&path)
            }
            EntryMode::Symlink => {
                let target = plan.links.get(&item.path).map_or(&[][..], Vec::as_slice);
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &path)
                    .map_err(failed("create the symlink"))?;
                fs::symlink_metadata(&path)
            }
            EntryMode::File(executable) => {
                let missing = || TreeError::Missing { oid: item.oid, path: shown(&item.path) };
                let lfs_pointer = store.deliver(item.oid, &path)?.ok_or_else(missing)?;
                written.lfs_pointers += u64::from(lfs_pointer);
                let mtime = recorder.as_ref().map(|recorder| recorder.mtime);
                finish(&path, executable, mtime).map_err(failed("write"))?;
                fs::symlink_metadata(&path)
            }
        };
        if let Some(recorder) = recorder.as_deref_mut() {
            recorder.add(item, &metadata.map_err(failed("read the metadata of"))?)?;
        }
    }
    if let Some(recorder) = recorder {
        for item in &plan.skipped {
            recorder.add_skipped(item)?;
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
