//! Writes objects read from a pack: hashes them, keeps small ones in memory and others in files.

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

/// Maximum size of an object that is held in memory.
const SMALL: u64 = 1 << 20;
/// Maximum size of all bases of deltas that are held in memory at a time.
pub const HELD: u64 = 4 << 20;

/// An object of known size being written.
pub struct ObjectWriter {
    hasher: ObjectHasher,
    size: u64,
    left: u64,
    memory: Option<Vec<u8>>,
    file: Option<(File, PathBuf)>,
}

/// A complete object.
pub struct WrittenObject {
    pub oid: Oid,
    /// The content, if it was kept in memory.
    pub memory: Option<Vec<u8>>,
}

impl ObjectWriter {
    /// Starts an object; keeps its content in memory or writes it to a new file, as requested.
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

    pub fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| corrupt("an object's size"))?;
        self.hasher.update(bytes);
        if let Some((file, path)) = &mut self.file {
            file.write_all(bytes).map_err(|error| VolumeError::new(DOING, path, error))?;
        }
        if let Some(memory) = &mut self.memory {
            // Reserved only now: a size is not trusted before bytes arrive.
            memory.reserve_exact(usize::try_from(self.left).unwrap_or(0).min(bytes.len() * 1024));
            memory.extend_from_slice(bytes);
        }
        Ok(())
    }

    pub fn finish(self) -> Result<WrittenObject, PackError> {
        if self.left > 0 {
            return Err(PackError::Corrupt(format!("an object of {} bytes is shorter", self.size)));
        }
        Ok(WrittenObject { oid: self.hasher.finish()?, memory: self.memory })
    }
}

/// Content of an object that is the base of deltas.
pub enum Content {
    Memory(Vec<u8>),
    /// A file that is kept.
    File(PathBuf),
    /// A file that is removed when this is dropped.
    Scratch(PathBuf),
}

impl Content {
    /// Reports whether an object of this size may be held in memory in addition to `held` bytes.
    pub fn fits(size: u64, held: u64) -> bool {
        size <= SMALL && held + size <= HELD
    }

    /// Bytes held in memory.
    pub fn held(&self) -> u64 {
        if let Self::Memory(bytes) = self { bytes.len() as u64 } else { 0 }
    }

    /// Opens the content for copying.
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
            // Leftovers are removed together with the staging directory.
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

/// Reports whether a file's content is a Git LFS pointer: a short text that starts with the version line.
pub fn is_lfs_pointer(data: &[u8]) -> bool {
    (data.len() as u64) < LFS_POINTER && data.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
}

/// Git LFS pointers are shorter than this.
pub const LFS_POINTER: u64 = 1024;

/// Returns the path of a spooled object, named by its position in the pack.
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
