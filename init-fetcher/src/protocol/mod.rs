//! Git's wire protocol, versions 0 and 2: requests as bytes, answers as values.
//!
//! ```text
//!  advertisement (first answer of a server) -> capabilities
//!  v2, v0 (requests and answers) -> refs (a listing of bounded size), sideband (bytes of the pack)
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

/// A ref as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    /// What it names.
    pub oid: Oid,
    /// What an annotated tag leads to in the end.
    pub peeled: Option<Oid>,
    /// The ref that a symbolic ref (`HEAD`) names.
    pub target: Option<String>,
}

/// Which refs are asked for. A server may ignore it and send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing<'a> {
    /// A branch and a tag of this name.
    Named(&'a str),
    /// `HEAD`, all branches and all tags.
    All,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// A commit, tag or tree.
    pub oid: Oid,
    /// Without the history before it.
    pub shallow: bool,
    /// Without the contents of files.
    pub without_blobs: bool,
}

impl Want {
    /// The same from a server that may be unable to cut the history: it sends all of it then, and the
    /// limits decide.
    pub fn as_far_as(self, capabilities: &Capabilities) -> Self {
        Self { shallow: self.shallow && capabilities.shallow(), ..self }
    }
}

/// What came with a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Commits at which the server cut the history.
    pub shallow: Vec<Oid>,
}
