//! A pack as it comes from a server, taken in while it arrives.
//!
//! ```text
//!  side-band ─> intake (pack file, its checksum) ─chunks─> scan (inflates, names by hash, spools blobs)
//!                                                            │ a thread of its own
//!                       deltas (makes what was sent as a difference) <─ entries
//!                                                            v
//!                              read (objects of a finished pack), index (git's .idx)
//! ```
//!
//! Own code where a library would do, because of what was measured: libgit2's indexer writes through a
//! mapping page by page, inflates with plain zlib, and
//! keeps nothing of what it inflated, so that every file is inflated twice. That made whole repositories
//! slower than `git clone`. Inflating, hashing and checksums stay with libraries.
//!
//! Memory stays small whatever is sent: objects of any size pass through in pieces, and only trees,
//! commits and the bases of deltas are held, within [`object::HELD`].

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

/// Called between steps; blocks for good while the run is being ended by another thread.
pub type Checkpoint<'a> = &'a (dyn Fn() + Sync);

/// Receives a pack's bytes.
pub trait PackSink {
    /// Takes the next bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), PackError>;
}

/// What is being done when the volume refuses.
pub const DOING: &str = "write the received pack to";

/// A pack on disk, each of its objects known.
pub struct Pack {
    /// The pack itself, open for reading.
    pub file: File,
    /// Where it is.
    pub path: PathBuf,
    /// Its own checksum.
    pub checksum: Vec<u8>,
    /// Its objects, in the order of the pack.
    pub entries: Vec<Entry>,
    /// Positions in `entries`, in the order of the objects' ids.
    pub by_id: Vec<u32>,
}

/// One object of a pack.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The hash of its content; of no meaning before its delta was made.
    pub oid: Oid,
    /// What it is; for a delta what its base is, `None` before that is known.
    pub kind: Option<ObjectKind>,
    /// Size of the object, in bytes.
    pub size: u64,
    /// Size of what is compressed: the object, or the delta.
    pub inflated: u64,
    /// Where it starts in the pack.
    pub offset: u64,
    /// Where its compressed data start.
    pub data: u64,
    /// CRC-32 of all its bytes in the pack.
    pub crc: u32,
    /// Position of the base among the entries, once known; `None` for a whole object.
    pub base: Option<u32>,
    /// Whether its content is in the spool.
    pub spooled: bool,
    /// Whether it is a Git LFS pointer.
    pub lfs_pointer: bool,
}

impl Pack {
    /// The position of an object.
    pub fn find(&self, oid: Oid) -> Option<u32> {
        let at = self.by_id.binary_search_by_key(&oid, |&at| self.entries[at as usize].oid).ok()?;
        Some(self.by_id[at])
    }
}
