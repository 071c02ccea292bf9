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

    /// Whether [`Want::without_blobs`] can be asked for.
    fn can_filter(&self) -> bool;

    /// Whether [`Want::shallow`] is heeded.
    fn can_cut(&self) -> bool;

    /// Whether any commit can be wanted by its id, or only what is listed.
    fn can_want_any(&self) -> bool;

    /// Fetches a pack.
    ///
    /// # Errors
    /// Any [`TransportError`]; [`TransportError::Refused`] where the server understood and said no.
    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError>;
}
