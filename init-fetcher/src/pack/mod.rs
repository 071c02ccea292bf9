//! Receives packs, verifies their objects and reads them.
//!
//! ```text
//!  side-band ─> intake (pack file, its checksum) ─chunks─> scan (inflates, hashes, spools blobs)
//!                                                            │ in a second thread
//!                       deltas (resolves deltas) <─ entries
//!                                                            v
//!                              read (objects of a finished pack), index (git's .idx)
//! ```
//!
//! This is not libgit2's indexer, because that made whole repositories slower than `git clone`: it writes
//! through a mapping page by page, inflates with plain zlib, and inflates every file a second time for the
//! checkout. Inflating, hashing and checksums are done by libraries.
//!
//! Memory is bounded whatever is received: objects are processed in pieces, and only trees, commits and the
//! bases of deltas are held, up to [`object::HELD`]. Nothing here depends on transport or protocol.

pub mod delta;
pub mod deltas;
pub mod entry;
mod error;
mod hash;
pub mod index;
pub mod inflate;
pub mod intake;
pub mod object;
mod objects;
pub mod read;
pub mod scan;
pub mod store;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;

use git2::Oid;

use entry::ObjectKind;
pub use error::PackError;
pub use objects::Objects;

/// Called between steps; does not return if the run is being ended by another thread.
pub type Checkpoint<'a> = &'a (dyn Fn() + Sync);

/// Receives a pack's bytes.
pub trait PackSink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), PackError>;
}

/// Completes the message "failed to ..." of a volume error.
pub const DOING: &str = "write the received pack to";

/// A verified pack on disk.
pub struct Pack {
    pub file: File,
    pub path: PathBuf,
    pub checksum: Vec<u8>,
    /// Objects in the order of the pack.
    pub entries: Vec<PackEntry>,
    /// Positions in `entries`, sorted by object id.
    pub by_id: Vec<u32>,
}

/// One object of a pack.
#[derive(Debug, Clone, Copy)]
pub struct PackEntry {
    /// Zero until a delta is resolved.
    pub oid: Oid,
    /// `None` until a delta is resolved.
    pub kind: Option<ObjectKind>,
    /// Size of the object, in bytes.
    pub size: u64,
    /// Size of the inflated data: of the object, or of the delta.
    pub inflated: u64,
    /// Offset of the entry in the pack.
    pub offset: u64,
    /// Offset of the compressed data.
    pub data: u64,
    /// CRC-32 of the entry's bytes in the pack.
    pub crc: u32,
    /// Position of the base, once known; `None` for an object that is not a delta.
    pub base: Option<u32>,
    pub spooled: bool,
    pub lfs_pointer: bool,
}

impl Pack {
    /// Returns the position of an object.
    pub fn find(&self, oid: Oid) -> Option<u32> {
        let at = self.by_id.binary_search_by_key(&oid, |&at| self.entries[at as usize].oid).ok()?;
        Some(self.by_id[at])
    }
}
