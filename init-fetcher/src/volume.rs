//! Errors of the volume, with a message for the person who reads it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A failed write to the volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No space, or a quota.
    #[error("the volume is full: failed to {doing} {}; give the workspace volume more space", path.display())]
    Full {
        doing: &'static str,
        /// To what.
        path: PathBuf,
        source: io::Error,
    },
    /// Permission, or a read-only volume.
    #[error("failed to {doing} {}: {source}; {state}", path.display())]
    NotWritable {
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Owner and mode of the directory that denies access.
        state: String,
        source: io::Error,
    },
}

impl VolumeError {
    /// Puts an error in words: `doing` completes "failed to …".
    pub fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        if matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)) {
            return Self::Full { doing, path, source };
        }
        let state = state(path.parent().unwrap_or(&path));
        Self::NotWritable { doing, path, state, source }
    }

    /// The same for an error that is about a directory itself, and not about an entry in it.
    pub fn of_directory(doing: &'static str, directory: &Path, source: io::Error) -> Self {
        match Self::new(doing, directory, source) {
            Self::NotWritable { doing, path, source, .. } => {
                let state = state(&path);
                Self::NotWritable { doing, path, state, source }
            }
            full @ Self::Full { .. } => full,
        }
    }
}

/// Describes owner and mode of a directory, or of its nearest ancestor that exists, and the user of this process.
fn state(directory: &Path) -> String {
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let nearest = directory
        .ancestors()
        .find_map(|directory| fs::metadata(directory).ok().map(|metadata| (directory, metadata)));
    match nearest {
        Some((directory, metadata)) => format!(
            "{} belongs to {}:{} with mode {:04o}, and this runs as {}:{}",
            directory.display(),
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777,
            ids.0,
            ids.1,
        ),
        None => format!("this runs as {}:{}", ids.0, ids.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> VolumeError {
        VolumeError::new("write", Path::new("/nowhere/at/all"), errno.into())
    }

    #[test]
    fn separates_full_from_unwritable_volumes() {
        assert!(matches!(of(Errno::NOSPC), VolumeError::Full { .. }));
        assert!(matches!(of(Errno::DQUOT), VolumeError::Full { .. }));
        for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOTDIR] {
            assert!(matches!(of(errno), VolumeError::NotWritable { .. }), "{errno}");
        }
    }

    #[test]
    fn names_owner_and_mode_of_the_directory() {
        let text = of(Errno::ACCESS).to_string();
        assert!(text.contains("/ belongs to 0:0 with mode 0"), "{text}");
    }
}
