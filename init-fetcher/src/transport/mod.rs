//! From a URL to refs and packs.
//!
//! ```text
//!  trust, proxy ──> http (one client for all HTTP) ──> smart (authentication, redirects, one repository)
//!                                                        ├── v2 (requests and answers of protocol v2)
//!                                                        └── v0 (the same for servers of old)
//!  ssh (connection, host key, one command) ───────────────┘
//!  advertisement, pktline (framing), refs (a listing of bounded size), pack (side-band to pack bytes) serve all
//! ```
//!
//! What is asked for and how answers are read is pure; only `http` and
//! `ssh` touch the network. libgit2's own transports are not compiled in.

pub mod advertisement;
pub mod capabilities;
pub mod error;
pub mod http;
pub mod pack;
pub mod pktline;
pub mod proxy;
pub mod redirect;
pub mod refs;
pub mod smart;
pub mod ssh;
pub mod tls;
pub mod trust;
pub mod v0;
pub mod v2;

use git2::Oid;

use capabilities::Capabilities;
pub use error::TransportError;

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
    fn as_far_as(self, capabilities: &Capabilities) -> Self {
        Self { shallow: self.shallow && capabilities.shallow(), ..self }
    }
}

/// What came with a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Commits at which the server cut the history.
    pub shallow: Vec<Oid>,
}

/// Where a pack's bytes go.
pub trait PackSink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`TransportError`] of the kind that ends the transfer: a limit, the volume, corrupt data.
    fn append(&mut self, bytes: &[u8]) -> Result<(), TransportError>;
}

/// A repository on some server.
pub trait Remote {
    /// Refs, as asked for.
    ///
    /// # Errors
    /// Any [`TransportError`].
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError>;

    /// What the server says it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Fetches a pack.
    ///
    /// # Errors
    /// Any [`TransportError`]; [`TransportError::Refused`] where the server understood and said no.
    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError>;
}
