//! Reads a pack's entries as its bytes come in: inflates each, names it by its hash, and spools the
//! contents of files, so that nothing needs to be inflated again to be delivered.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::Receiver;

use flate2::Crc;
use git2::{ObjectFormat, Oid};

use super::Checkpoint;
use super::PackError;
use super::entry::{self, Head, ObjectKind, corrupt};
use super::inflate::Inflater;
use super::object::{LFS_POINTER, ObjectWriter, is_lfs_pointer, spooled};
use super::{Entry, delta};
use crate::config::Limits;
use crate::oid;

/// Objects that are neither file nor directory of the delivered tree: commits, tags, directories on the way.
const OTHER_OBJECTS: u64 = 10_000;
/// How many times the limit on bytes all objects and deltas together may have, inflated. Deltas of a few
/// bytes can each make an object of any size, and those of any size an object of a few bytes.
const INFLATED: u64 = 4;
/// Bytes of an entry of a directory, at most: mode, name, hash.
const TREE_ENTRY: u64 = 300;
/// Bytes of a directory that are allowed in any case: on the way to the one that is delivered there may be
/// larger ones.
const TREE: u64 = 1 << 20;
/// Bytes of a commit or an annotated tag, at most.
const MESSAGE: u64 = 4 << 20;

/// What the entries of a pack are.
pub struct Scanned {
    /// All of them, in their order.
    pub entries: Vec<Entry>,
    /// Deltas whose base is named by its id: the base, and the delta's position.
    pub by_id: Vec<(Oid, u32)>,
}

/// Reads all entries.
///
/// # Errors
/// [`PackError`] for a broken pack, a limit or the volume.
pub fn scan(
    mut chunks: Chunks,
    format: ObjectFormat,
    limits: Limits,
    spool: Option<&Path>,
    checkpoint: Checkpoint,
) -> Result<Scanned, PackError> {
    let count = header(&mut chunks, limits)?;
    let mut scan = Scan {
        format,
        limits,
        spool,
        inflater: Inflater::default(),
        inflated: 0,
        out: Scanned { entries: Vec::new(), by_id: Vec::new() },
    };
    for _ in 0..count {
        checkpoint();
        scan.entry(&mut chunks)?;
    }
    chunks.end(format)?;
    Ok(scan.out)
}

/// The number of objects that the header claims: each costs memory.
fn header(chunks: &mut Chunks, limits: Limits) -> Result<u32, PackError> {
    let mut bytes = [0; 12];
    chunks.read_exact(&mut bytes).map_err(|_| PackError::Truncated)?;
    let (start, count) = bytes.split_at(8);
    if start != b"PACK\0\0\0\x02" {
        return Err(corrupt("the header"));
    }
    let count = count.iter().fold(0, |count, &byte| count << 8 | u32::from(byte));
    let limit = limits.files.saturating_mul(2).saturating_add(OTHER_OBJECTS);
    if u64::from(count) > limit {
        return Err(PackError::TooLarge { limit, unit: "objects", setting: "WORKFLOW_MAX_FILES" });
    }
    Ok(count)
}

struct Scan<'a> {
    format: ObjectFormat,
    limits: Limits,
    spool: Option<&'a Path>,
    inflater: Inflater,
    inflated: u64,
    out: Scanned,
}

impl Scan<'_> {
    fn entry(&mut self, chunks: &mut Chunks) -> Result<(), PackError> {
        let offset = chunks.offset;
        chunks.crc.reset();
        let head = entry::read(self.format, &mut || chunks.byte())?;
        let position = self.out.entries.len();
        let mut entry = Entry {
            oid: oid::zero(self.format),
            kind: None,
            size: 0,
            inflated: 0,
            offset,
            data: chunks.offset,
            crc: 0,
            base: None,
            spooled: false,
            lfs_pointer: false,
        };
        match head {
            Head::Object(kind, size) => {
                (entry.kind, entry.size, entry.inflated) = (Some(kind), size, size);
                self.count(size)?;
                check_size(kind, size, self.limits)?;
                self.object(chunks, position, kind, &mut entry)?;
            }
            Head::OffsetDelta(distance, size) => {
                entry.inflated = size;
                entry.base = Some(self.at(offset, distance)?);
                self.count(size)?;
                self.delta(chunks, &mut entry)?;
            }
            Head::IdDelta(id, size) => {
                entry.inflated = size;
                let position = u32::try_from(position).map_err(|_| corrupt("the number of objects"))?;
                self.out.by_id.push((id, position));
                self.count(size)?;
                self.delta(chunks, &mut entry)?;
            }
        }
        entry.crc = chunks.crc.sum();
        self.out.entries.push(entry);
        Ok(())
    }

    fn object(
        &mut self,
        chunks: &mut Chunks,
        position: usize,
        kind: ObjectKind,
        entry: &mut Entry,
    ) -> Result<(), PackError> {
        let file = self.spool.filter(|_| kind == ObjectKind::Blob).map(|spool| spooled(spool, position));
        entry.spooled = file.is_some();
        let short = kind == ObjectKind::Blob && entry.size < LFS_POINTER;
        let mut writer = ObjectWriter::new(self.format, kind, entry.size, short, file)?;
        self.inflater.run(chunks, entry.size, &mut |piece| writer.put(piece))?;
        let written = writer.finish()?;
        entry.oid = written.oid;
        entry.lfs_pointer = written.memory.is_some_and(|data| is_lfs_pointer(&data));
        Ok(())
    }

    /// Reads a delta as far as it can be understood without its base: the size of what it makes.
    fn delta(&mut self, chunks: &mut Chunks, entry: &mut Entry) -> Result<(), PackError> {
        let mut size = None;
        self.inflater.run(chunks, entry.inflated, &mut |piece| {
            if size.is_none() {
                size = Some(delta::sizes(piece)?.1);
            }
            Ok(())
        })?;
        entry.size = size.ok_or_else(|| corrupt("a delta"))?;
        self.count(entry.size)
    }

    fn at(&self, offset: u64, distance: u64) -> Result<u32, PackError> {
        let base = offset.checked_sub(distance).ok_or_else(|| corrupt("a delta's base"))?;
        let found = self.out.entries.binary_search_by_key(&base, |entry| entry.offset);
        found.ok().and_then(|at| u32::try_from(at).ok()).ok_or_else(|| corrupt("a delta's base"))
    }

    fn count(&mut self, size: u64) -> Result<(), PackError> {
        let limit = self.limits.bytes;
        self.inflated = self.inflated.saturating_add(size);
        if size > limit || self.inflated > limit.saturating_mul(INFLATED) {
            return Err(PackError::TooLarge { limit, unit: "bytes", setting: "WORKFLOW_MAX_BYTES" });
        }
        Ok(())
    }
}

/// Refuses what would have to be held in memory and is larger than it can usefully be.
///
/// # Errors
/// [`PackError::TooLarge`], [`PackError::Excessive`].
pub fn check_size(kind: ObjectKind, size: u64, limits: Limits) -> Result<(), PackError> {
    match kind {
        ObjectKind::Tree if size > limits.files.saturating_mul(TREE_ENTRY).max(TREE) => {
            let (limit, unit) = (limits.files, "entries in one directory");
            Err(PackError::TooLarge { limit, unit, setting: "WORKFLOW_MAX_FILES" })
        }
        ObjectKind::Commit | ObjectKind::Tag if size > MESSAGE => {
            Err(PackError::Excessive { limit: MESSAGE, unit: "bytes in one commit's message" })
        }
        _ => Ok(()),
    }
}

/// A pack's bytes as they come from the other thread, with where they are and their checksum.
pub struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    offset: u64,
    crc: Crc,
}

impl Chunks {
    /// Reads what is sent there.
    pub fn new(receiver: Receiver<Vec<u8>>) -> Self {
        Self { receiver, chunk: Vec::new(), at: 0, offset: 0, crc: Crc::new() }
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let byte = self.fill_buf().ok().and_then(|bytes| bytes.first().copied());
        self.consume(1);
        byte.ok_or(PackError::Truncated)
    }

    /// Checks that only the pack's own checksum follows; whether it is right is not known here.
    fn end(mut self, format: ObjectFormat) -> Result<(), PackError> {
        let checksum = oid::size(format) as u64;
        let end = self.offset;
        while let Ok([_, ..]) = self.fill_buf() {
            let rest = self.chunk.len() - self.at;
            self.consume(rest);
        }
        if self.offset == end + checksum { Ok(()) } else { Err(corrupt("the end")) }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            // Nobody sends any more: that is the end.
            self.chunk = self.receiver.recv().unwrap_or_default();
            self.at = 0;
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        let end = (self.at + amount).min(self.chunk.len());
        self.crc.update(&self.chunk[self.at..end]);
        self.offset += (end - self.at) as u64;
        self.at = end;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let amount = bytes.len().min(buffer.len());
        buffer[..amount].copy_from_slice(&bytes[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}
