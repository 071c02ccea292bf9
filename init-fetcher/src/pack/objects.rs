//! Access to received objects.

use git2::Oid;

use super::PackError;

/// Reads trees and blobs by their ids.
pub trait Objects {
    /// Returns a tree's content, `None` if it was not received.
    fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError>;
    /// Returns a blob's size in bytes, `None` if it was not received.
    fn blob_size(&self, oid: Oid) -> Option<u64>;
    /// Returns a blob's content, `None` if it was not received.
    fn blob(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError>;
}
