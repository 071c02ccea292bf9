//! Reads the entries of a pack while it is received: inflates and hashes each object and spools blobs, so
//! that they are not inflated again for delivery.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::Receiver;

use flate2::Crc;
use git2::{ObjectFormat, Oid};

use super::Checkpoint;
use super::PackError;
use super::entry::{self, EntryHeader, ObjectKind, corrupt};
use super::inflate::Inflater;
use super::object::{LFS_POINTER, ObjectWriter, is_lfs_pointer, spooled};
use super::{PackEntry, delta};
use crate::config::Limits;
use crate::oid;

/// Allowance for objects outside the delivered tree: commits, tags, parent directories.
const OTHER_OBJECTS: u64 = 10_000;
/// All objects and deltas together may inflate to this many times the limit on bytes. A delta of a few bytes
/// can result in an object of any size, and the other way round.
const INFLATED: u64 = 4;
/// Maximum bytes of a tree entry: mode, name, hash.
const TREE_ENTRY: u64 = 300;
/// Size of a tree that is always allowed: parents of the delivered directory may be larger than it.
const TREE: u64 = 1 << 20;
/// Maximum bytes of a commit or an annotated tag.
const MESSAGE: u64 = 4 << 20;

/// The entries of a pack before deltas are resolved.
pub struct Scanned {
    /// In the order of the pack.
    pub entries: Vec<PackEntry>,
    /// Deltas whose base is given by id: the base's id and the delta's position.
    pub by_id: Vec<(Oid, u32)>,
}

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

/// Reads the number of objects and checks it against the limit, because each needs memory.
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
        let mut entry = PackEntry {
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
            EntryHeader::Object(kind, size) => {
                (entry.kind, entry.size, entry.inflated) = (Some(kind), size, size);
                self.count(size)?;
                check_size(kind, size, self.limits)?;
                self.object(chunks, position, kind, &mut entry)?;
            }
            EntryHeader::OffsetDelta(distance, size) => {
                entry.inflated = size;
                entry.base = Some(self.at(offset, distance)?);
                self.count(size)?;
                self.delta(chunks, &mut entry)?;
            }
            EntryHeader::IdDelta(id, size) => {
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
        entry: &mut PackEntry,
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

    /// Reads a delta without its base, to find the size of the result.
    fn delta(&mut self, chunks: &mut Chunks, entry: &mut PackEntry) -> Result<(), PackError> {
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

/// Rejects trees, commits and tags of unreasonable size, because they are held in memory.
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

/// Bytes of a pack from the receiving thread, with their offset and CRC.
pub struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    offset: u64,
    crc: Crc,
}

impl Chunks {
    pub fn new(receiver: Receiver<Vec<u8>>) -> Self {
        Self { receiver, chunk: Vec::new(), at: 0, offset: 0, crc: Crc::new() }
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let byte = self.fill_buf().ok().and_then(|bytes| bytes.first().copied());
        self.consume(1);
        byte.ok_or(PackError::Truncated)
    }

    /// Checks that exactly a checksum follows; the receiving thread compares it.
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
            // A closed channel is the end of the pack.
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
