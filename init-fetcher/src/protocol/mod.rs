//! Git's wire protocol, versions 0 and 2: requests as bytes, responses as values.
//!
//! ```text
//!  advertisement (first response of a server) -> capabilities
//!  v2, v0 (requests and responses) -> refs (a listing of bounded size), sideband (bytes of the pack)
//!  pktline (framing) serves all
//! ```
//!
//! Nothing here opens a connection.

pub mod advertisement;
pub mod capabilities;
mod error;
pub mod pktline;
mod refs;
mod sideband;
pub mod v0;
pub mod v2;

use git2::Oid;

use capabilities::Capabilities;
pub use error::ProtocolError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    pub oid: Oid,
    /// Target of an annotated tag, tags of tags resolved.
    pub peeled: Option<Oid>,
    /// Target of a symbolic ref such as `HEAD`.
    pub target: Option<String>,
}

/// The refs to list. A server may return more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing<'a> {
    /// A branch and a tag of this name.
    Named(&'a str),
    /// The ref of this full name.
    Full(&'a str),
    /// `HEAD`, all branches and all tags.
    All,
}

/// A request for a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want<'a> {
    /// Commits, tags, trees or blobs; at least one.
    pub oids: &'a [Oid],
    /// Without parent commits.
    pub shallow: bool,
    pub without_blobs: bool,
}

impl Want<'_> {
    /// Drops `shallow` if the server does not support it; the limits then apply to the whole history.
    pub fn as_far_as(self, capabilities: &Capabilities) -> Self {
        Self { shallow: self.shallow && capabilities.shallow(), ..self }
    }
}

/// Information received with a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Commits whose parents were not sent.
    pub shallow: Vec<Oid>,
}
