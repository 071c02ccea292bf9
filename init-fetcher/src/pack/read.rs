//! Objects read back from a pack on disk.

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
use super::{Entry, Pack};

/// Bytes read from a pack at a time: most objects are smaller.
const READ: usize = 16 << 10;

/// Reads entries; keeps its buffers from one to the next.
pub struct Reader<'a> {
    file: &'a File,
    inflater: Inflater,
}

impl<'a> Reader<'a> {
    /// Reads from this pack.
    pub fn new(file: &'a File) -> Self {
        Self { file, inflater: Inflater::default() }
    }

    /// Inflates a whole object.
    ///
    /// # Errors
    /// [`PackError`] where the pack is broken or the volume full.
    pub fn whole(&mut self, entry: &Entry, mut writer: ObjectWriter) -> Result<WrittenObject, PackError> {
        self.inflater.run(&mut at(self.file, entry), entry.inflated, &mut |piece| writer.put(piece))?;
        writer.finish()
    }

    /// Applies a delta to its base, which has this size.
    ///
    /// # Errors
    /// [`PackError`] where the pack is broken or the volume full.
    pub fn delta(
        &mut self,
        entry: &Entry,
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
    /// What it costs to read an object back, in bytes: those of all that it is written from.
    pub fn cost(&self, position: u32) -> u64 {
        /// What even the smallest costs.
        const LEAST: u64 = 4 << 10;
        let mut cost = 0_u64;
        let mut at = Some(position);
        while let Some(entry) = at.map(|at| &self.entries[at as usize]) {
            cost = cost.saturating_add(entry.size.saturating_add(entry.inflated).max(LEAST));
            at = entry.base;
        }
        cost
    }

    /// Makes an object as it was when it was named: in memory, or in a new file.
    ///
    /// `scratch` is a file that does not exist, for bases that are too large for memory.
    ///
    /// # Errors
    /// [`PackError`] where the pack can't be read back or the volume is full.
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
        // From the whole object at the end of the chain back to what is asked for.
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

/// Where an object goes.
pub enum Target {
    /// Into memory.
    Memory,
    /// Into a file that stays.
    File(PathBuf),
    /// Into a file for as long as it is a base.
    Scratch(PathBuf),
}

impl Target {
    fn base(entry: &Entry, left: usize, scratch: &Path) -> Self {
        if Content::fits(entry.size, 0) {
            Self::Memory
        } else {
            Self::Scratch(scratch.with_extension(left.to_string()))
        }
    }

    /// An object that goes there.
    ///
    /// # Errors
    /// [`PackError::Volume`].
    pub fn writer(
        &self,
        format: ObjectFormat,
        kind: ObjectKind,
        size: u64,
    ) -> Result<ObjectWriter, PackError> {
        ObjectWriter::new(format, kind, size, matches!(self, Self::Memory), self.file())
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::File(path) | Self::Scratch(path) => Some(path.clone()),
        }
    }

    /// What went there, as a base.
    ///
    /// # Errors
    /// [`PackError::Corrupt`], never in fact.
    pub fn content(self, written: WrittenObject) -> Result<Content, PackError> {
        Ok(match self {
            Self::Memory => Content::Memory(written.memory.ok_or_else(|| corrupt("a base"))?),
            Self::File(path) => Content::File(path),
            Self::Scratch(path) => Content::Scratch(path),
        })
    }
}

fn at<'a>(file: &'a File, entry: &Entry) -> BufReader<At<'a>> {
    BufReader::with_capacity(READ, At { file, offset: entry.data })
}

/// A file from some offset on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
