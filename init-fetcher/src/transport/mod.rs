//! Connections to git servers.
//!
//! ```text
//!  http (smart HTTP: one client, authentication, redirects, proxies, trust)
//!  ssh  (one connection, host key check, authentication, one command)
//! ```
//!
//! Both implement [`Remote`] with the requests of [`crate::protocol`]. libgit2's own transports are not
//! compiled in.

pub mod dns;
mod error;
pub mod http;
mod listing;
mod proxy;
pub mod ssh;
pub mod tunnel;
pub mod words;

use crate::pack::PackSink;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::{Listing, Received, Ref, Want};

pub use error::TransportError;

/// A connection to one repository.
pub trait Remote {
    /// Lists refs.
    ///
    /// # Errors
    /// Any [`TransportError`].
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError>;

    /// Returns the capabilities that the server advertises.
    fn capabilities(&self) -> &Capabilities;

    /// Fetches a pack.
    ///
    /// # Errors
    /// Any [`TransportError`]; [`Server`](crate::protocol::ProtocolError::Server) for an error line.
    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError>;
}
