//! Objects on their way out of a pack: named by their hash, kept in memory while small, else in files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use git2::{ObjectFormat, Oid};

use super::DOING;
use super::PackError;
use super::delta::Base;
use super::entry::{ObjectKind, corrupt};
use super::hash::ObjectHasher;
use super::inflate::unreadable;
use crate::volume::VolumeError;

/// Bytes of an object that is held in memory, at most.
const SMALL: u64 = 1 << 20;
/// Bytes of all bases of deltas that are held in memory at a time, at most.
pub const HELD: u64 = 4 << 20;

/// An object of known size being written.
pub struct ObjectWriter {
    hasher: ObjectHasher,
    size: u64,
    left: u64,
    memory: Option<Vec<u8>>,
    file: Option<(File, PathBuf)>,
}

/// An object that was written.
pub struct WrittenObject {
    /// The hash of kind, size and content.
    pub oid: Oid,
    /// The content, where it was asked for or is no longer than a pointer to other content can be.
    pub memory: Option<Vec<u8>>,
}

impl ObjectWriter {
    /// Starts an object; its content is kept in memory, or written to a new file, as asked.
    ///
    /// # Errors
    /// [`PackError::Volume`].
    pub fn new(
        format: ObjectFormat,
        kind: ObjectKind,
        size: u64,
        memory: bool,
        file: Option<PathBuf>,
    ) -> Result<Self, PackError> {
        let mut hasher = ObjectHasher::new(format);
        hasher.update(format!("{} {size}\0", kind.name()).as_bytes());
        let file = file
            .map(|path| {
                let file = File::options().write(true).create_new(true).mode(0o666).open(&path);
                file.map(|file| (file, path.clone())).map_err(|error| VolumeError::new(DOING, &path, error))
            })
            .transpose()?;
        Ok(Self { hasher, size, left: size, memory: memory.then(Vec::new), file })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`PackError::Corrupt`] where they are too many, and [`PackError::Volume`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| corrupt("an object's size"))?;
        self.hasher.update(bytes);
        if let Some((file, path)) = &mut self.file {
            file.write_all(bytes).map_err(|error| VolumeError::new(DOING, path, error))?;
        }
        if let Some(memory) = &mut self.memory {
            // Reserved only now: a size is a claim until bytes come.
            memory.reserve_exact(usize::try_from(self.left).unwrap_or(0).min(bytes.len() * 1024));
            memory.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// [`PackError::Corrupt`] where bytes are missing.
    pub fn finish(self) -> Result<WrittenObject, PackError> {
        if self.left > 0 {
            return Err(PackError::Corrupt(format!("an object of {} bytes is shorter", self.size)));
        }
        Ok(WrittenObject { oid: self.hasher.finish()?, memory: self.memory })
    }
}

/// The content of a finished object, as the base of others.
pub enum Content {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file that stays.
    File(PathBuf),
    /// In a file that goes with this.
    Scratch(PathBuf),
}

impl Content {
    /// Whether an object of this size may be held in memory, beside these bytes.
    pub fn fits(size: u64, held: u64) -> bool {
        size <= SMALL && held + size <= HELD
    }

    /// Bytes of memory that this holds.
    pub fn held(&self) -> u64 {
        if let Self::Memory(bytes) = self { bytes.len() as u64 } else { 0 }
    }

    /// Opens it for copying from.
    ///
    /// # Errors
    /// [`PackError::Corrupt`].
    pub fn open(&self) -> Result<Box<dyn Base + '_>, PackError> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(InMemory(bytes)),
            Self::File(path) | Self::Scratch(path) => {
                Box::new(InFile(File::open(path).map_err(|error| unreadable(&error))?))
            }
        })
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Self::Scratch(path) = self {
            // What can't be removed goes with the staging directory.
            let _ = fs::remove_file(path);
        }
    }
}

struct InMemory<'a>(&'a [u8]);

impl Base for InMemory<'_> {
    fn copy(
        &self,
        offset: u64,
        len: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        self.0.copy(offset, len, take)
    }
}

struct InFile(File);

impl Base for InFile {
    fn copy(
        &self,
        mut offset: u64,
        mut len: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        const PIECE: u64 = 64 << 10;
        let mut piece = vec![0; usize::try_from(len.min(PIECE)).unwrap_or_default()];
        while len > 0 {
            let now = len.min(PIECE);
            let bytes = &mut piece[..usize::try_from(now).unwrap_or_default()];
            self.0.read_exact_at(bytes, offset).map_err(|error| unreadable(&error))?;
            take(bytes)?;
            offset += now;
            len -= now;
        }
        Ok(())
    }
}

/// Whether a file's content is a pointer in the sense of the Git LFS specification: a short text that
/// starts with its version line.
pub fn is_lfs_pointer(data: &[u8]) -> bool {
    (data.len() as u64) < LFS_POINTER && data.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
}

/// Bytes that a Git LFS pointer is shorter than.
pub const LFS_POINTER: u64 = 1024;

/// The file of an object in a spool directory, by its position in the pack.
pub fn spooled(spool: &Path, position: usize) -> PathBuf {
    spool.join(position.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_lfs_pointers() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert!(is_lfs_pointer(pointer));
        assert!(!is_lfs_pointer(b"version https://git-lfs.github.com/spec/v2\n"));
        assert!(!is_lfs_pointer(&[&pointer[..], &[b' '; 1024]].concat()));
    }

    #[test]
    fn names_objects_as_git_does() {
        let mut writer = ObjectWriter::new(ObjectFormat::Sha1, ObjectKind::Blob, 6, true, None).unwrap();
        writer.put(b"hel").unwrap();
        writer.put(b"lo\n").unwrap();
        let written = writer.finish().unwrap();
        assert_eq!(written.oid.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(written.memory.as_deref(), Some(&b"hello\n"[..]));
    }

    #[test]
    fn rejects_more_or_less_than_was_claimed() {
        let mut writer = ObjectWriter::new(ObjectFormat::Sha1, ObjectKind::Blob, 2, false, None).unwrap();
        assert!(writer.put(b"abc").is_err());
        let mut writer = ObjectWriter::new(ObjectFormat::Sha1, ObjectKind::Blob, 2, false, None).unwrap();
        writer.put(b"a").unwrap();
        assert!(writer.finish().is_err());
    }

    #[test]
    fn bases_are_copied_from_memory_and_from_files_alike() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let path = dir.path().join("base");
        fs::write(&path, &data).unwrap();
        for content in [Content::Memory(data.clone()), Content::Scratch(path.clone())] {
            let mut out = Vec::new();
            let base = content.open().unwrap();
            base.copy(3, 700_000, &mut |piece| {
                out.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            assert!(out == data[3..700_003]);
            assert!(base.copy(799_999, 2, &mut |_| Ok(())).is_err());
        }
        assert!(!path.exists());
    }
}
