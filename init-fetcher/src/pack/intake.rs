//! Receives a pack: one thread writes and checksums it, another reads its entries.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use git2::ObjectFormat;

use super::Checkpoint;
use super::hash::ChecksumHasher;
use super::scan::{self, Chunks};
use super::{DOING, Pack, deltas};
use super::{PackError, PackSink};
use crate::config::Limits;
use crate::oid;
use crate::volume::VolumeError;

/// Bytes that are written, hashed and passed to the other thread at a time.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for the other thread; bounds memory if that thread is slower.
const WAITING: usize = 16;
/// Mode of pack files, as with git.
const MODE: u32 = 0o444;

/// Destination of a pack.
pub struct PackFiles<'a> {
    /// Hash of its objects.
    pub format: ObjectFormat,
    /// The pack file, which must not exist yet.
    pub pack: &'a Path,
    /// Directory for blobs, from which they are moved to their final place; `None` if few of them are
    /// delivered.
    pub spool: Option<&'a Path>,
    /// Directory for objects that do not fit into memory.
    pub scratch: &'a Path,
}

/// Receives one pack: `receive` writes its bytes to the sink; `received` counts the bytes of all packs.
pub fn take<T, E: From<PackError>>(
    files: &PackFiles,
    limits: Limits,
    received: &mut u64,
    checkpoint: Checkpoint,
    receive: impl FnOnce(&mut dyn PackSink) -> Result<T, E>,
) -> Result<(T, Pack), E> {
    let (sender, chunks) = sync_channel(WAITING);
    let mut intake = Intake::new(files.pack, files.format, limits, *received, sender)?;
    let (result, scanned) = thread::scope(|scope| {
        let scan = thread::Builder::new().name("pack".into()).spawn_scoped(scope, || {
            scan::scan(Chunks::new(chunks), files.format, limits, files.spool, checkpoint)
        });
        let result =
            receive(&mut intake).and_then(|result| intake.finish().map(|()| result).map_err(E::from));
        intake.sender = None;
        let scanned = scan.map_or_else(
            |error| Err(PackError::Corrupt(format!("no thread to read it: {error}"))),
            |scan| scan.join().unwrap_or_else(|_| Err(PackError::Corrupt("its reader ended".into()))),
        );
        (result, scanned)
    });
    *received = intake.received;
    // If the reader failed, its error is the cause of the receiver's.
    let (result, scanned) = match (result, scanned) {
        (Ok(result), Ok(scanned)) => (result, scanned),
        (Err(error), Err(_)) if !intake.abandoned => return Err(error),
        (Err(error), Ok(_)) => return Err(error),
        (_, Err(error)) => return Err(error.into()),
    };
    let checksum = intake.checksum()?;
    let Intake { file, .. } = intake;
    let entries = deltas::make(&file, scanned, files.spool, files.scratch, limits, checkpoint)?;
    let mut by_id: Vec<u32> = (0..).take(entries.len()).collect();
    by_id.sort_unstable_by_key(|&at| entries[at as usize].oid);
    Ok((result, Pack { file, path: files.pack.to_owned(), checksum, entries, by_id }))
}

struct Intake {
    file: File,
    path: PathBuf,
    limits: Limits,
    received: u64,
    chunk: Vec<u8>,
    hasher: ChecksumHasher,
    format: ObjectFormat,
    /// The last bytes, which are not hashed yet because they may be the checksum.
    tail: Vec<u8>,
    sender: Option<SyncSender<Vec<u8>>>,
    /// True if the reading thread has ended early.
    abandoned: bool,
}

impl Intake {
    fn new(
        path: &Path,
        format: ObjectFormat,
        limits: Limits,
        received: u64,
        sender: SyncSender<Vec<u8>>,
    ) -> Result<Self, PackError> {
        let file = File::options().read(true).write(true).create_new(true).mode(MODE).open(path);
        Ok(Self {
            file: file.map_err(|error| VolumeError::new(DOING, path, error))?,
            path: path.to_owned(),
            limits,
            received,
            chunk: Vec::with_capacity(CHUNK),
            hasher: ChecksumHasher::new(format),
            format,
            tail: Vec::new(),
            sender: Some(sender),
            abandoned: false,
        })
    }

    fn flush(&mut self) -> Result<(), PackError> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.file.write_all(&chunk).map_err(|error| VolumeError::new(DOING, &self.path, error))?;
        self.hash(&chunk);
        if self.sender.as_ref().is_none_or(|sender| sender.send(chunk).is_err()) {
            self.abandoned = true;
            return Err(PackError::Corrupt("it was given up".into()));
        }
        Ok(())
    }

    fn hash(&mut self, chunk: &[u8]) {
        let size = oid::size(self.format);
        let (sure, last) = chunk.split_at(chunk.len().saturating_sub(size));
        self.tail.extend_from_slice(last);
        let surplus = self.tail.len().saturating_sub(size);
        let (early, late) = self.tail.split_at(surplus);
        if sure.is_empty() {
            self.hasher.update(early);
            self.tail = late.to_vec();
        } else {
            // The new tail is the end of this chunk.
            self.hasher.update(early);
            self.hasher.update(sure);
            self.tail = last.to_vec();
        }
    }

    fn finish(&mut self) -> Result<(), PackError> {
        if self.chunk.is_empty() { Ok(()) } else { self.flush() }
    }

    /// Returns the checksum and compares it with the trailer.
    fn checksum(&mut self) -> Result<Vec<u8>, PackError> {
        let hasher = std::mem::replace(&mut self.hasher, ChecksumHasher::new(self.format));
        let checksum = hasher.finish();
        if self.tail == checksum {
            Ok(checksum)
        } else {
            Err(PackError::Corrupt("its checksum is wrong".into()))
        }
    }
}

impl PackSink for Intake {
    fn append(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        self.received += bytes.len() as u64;
        if self.received > self.limits.bytes {
            let limit = self.limits.bytes;
            return Err(PackError::TooLarge { limit, unit: "bytes", setting: "WORKFLOW_MAX_BYTES" });
        }
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = rest;
            if self.chunk.len() == CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }
}
