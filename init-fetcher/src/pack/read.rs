//! Reads objects from a pack on disk.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::PackError;
use git2::ObjectFormat;

use super::delta::Applier;
use super::entry::{ObjectKind, corrupt};
use super::inflate::Inflater;
use super::object::{Content, ObjectWriter, WrittenObject};
use super::{Pack, PackEntry};

/// Bytes read from a pack at a time: most objects are smaller.
const READ: usize = 16 << 10;

/// Reads entries with shared buffers.
pub struct Reader<'a> {
    file: &'a File,
    inflater: Inflater,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a File) -> Self {
        Self { file, inflater: Inflater::default() }
    }

    /// Reads an object that is not a delta.
    pub fn whole(&mut self, entry: &PackEntry, mut writer: ObjectWriter) -> Result<WrittenObject, PackError> {
        self.inflater.run(&mut at(self.file, entry), entry.inflated, &mut |piece| writer.put(piece))?;
        writer.finish()
    }

    /// Reads a delta and applies it to its base.
    pub fn delta(
        &mut self,
        entry: &PackEntry,
        base: &Content,
        base_size: u64,
        mut writer: ObjectWriter,
    ) -> Result<WrittenObject, PackError> {
        let base = base.open()?;
        let mut applier = Applier::new(base.as_ref(), base_size);
        self.inflater.run(&mut at(self.file, entry), entry.inflated, &mut |piece| {
            applier.feed(piece, &mut |bytes| writer.put(bytes))
        })?;
        applier.finish()?;
        writer.finish()
    }
}

impl Pack {
    /// Cost of reading an object, in bytes: the sizes of all objects of its delta chain.
    pub fn cost(&self, position: u32) -> u64 {
        /// Minimum cost of an object.
        const LEAST: u64 = 4 << 10;
        let mut cost = 0_u64;
        let mut at = Some(position);
        while let Some(entry) = at.map(|at| &self.entries[at as usize]) {
            cost = cost.saturating_add(entry.size.saturating_add(entry.inflated).max(LEAST));
            at = entry.base;
        }
        cost
    }

    /// Reads an object into memory or a new file. Bases that are too large for memory are written to files
    /// next to `scratch`.
    pub fn read(
        &self,
        position: u32,
        file: Option<&Path>,
        scratch: &Path,
    ) -> Result<WrittenObject, PackError> {
        let mut chain = vec![position];
        while let Some(base) = self.entries[chain[chain.len() - 1] as usize].base {
            chain.push(base);
        }
        let kind = self.entries[position as usize].kind.ok_or_else(|| corrupt("a delta's base"))?;
        let mut reader = Reader::new(&self.file);
        let mut base: Option<(Content, u64)> = None;
        // From the end of the delta chain to the requested object.
        for (left, &at) in chain.iter().enumerate().rev() {
            let entry = &self.entries[at as usize];
            let target = if left == 0 {
                file.map_or(Target::Memory, |file| Target::File(file.to_owned()))
            } else {
                Target::base(entry, left, scratch)
            };
            let writer = target.writer(entry.oid.object_format(), kind, entry.size)?;
            let written = match &base {
                None => reader.whole(entry, writer)?,
                Some((base, size)) => reader.delta(entry, base, *size, writer)?,
            };
            if written.oid != entry.oid {
                return Err(corrupt("what is read back"));
            }
            if left == 0 {
                return Ok(written);
            }
            base = Some((target.content(written)?, entry.size));
        }
        Err(corrupt("a delta's base"))
    }
}

/// Destination of an object.
pub enum Target {
    Memory,
    /// A file that is kept.
    File(PathBuf),
    /// A file that is kept while the object is a base.
    Scratch(PathBuf),
}

impl Target {
    fn base(entry: &PackEntry, left: usize, scratch: &Path) -> Self {
        if Content::fits(entry.size, 0) {
            Self::Memory
        } else {
            Self::Scratch(scratch.with_extension(left.to_string()))
        }
    }

    /// Starts an object with this destination.
    pub fn writer(
        &self,
        format: ObjectFormat,
        kind: ObjectKind,
        size: u64,
    ) -> Result<ObjectWriter, PackError> {
        ObjectWriter::new(format, kind, size, matches!(self, Self::Memory), self.file())
    }

    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::File(path) | Self::Scratch(path) => Some(path.clone()),
        }
    }

    /// Returns the written object as a base.
    pub fn content(self, written: WrittenObject) -> Result<Content, PackError> {
        Ok(match self {
            Self::Memory => Content::Memory(written.memory.ok_or_else(|| corrupt("a base"))?),
            Self::File(path) => Content::File(path),
            Self::Scratch(path) => Content::Scratch(path),
        })
    }
}

fn at<'a>(file: &'a File, entry: &PackEntry) -> BufReader<FileFrom<'a>> {
    BufReader::with_capacity(READ, FileFrom { file, offset: entry.data })
}

/// Reads a file from an offset without moving the shared file position.
struct FileFrom<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FileFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
