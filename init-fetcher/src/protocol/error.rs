//! Errors of reading a server's response.

use std::io;

use crate::pack::PackError;

/// A response that is broken, incomplete or an error message of the server.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection failed; the transport explains `source`.
    #[error("the connection broke {doing}: {source}")]
    Read { doing: &'static str, source: io::Error },
    #[error("the server's response cannot be parsed: {0}; check the server and the proxies on the way")]
    Malformed(String),
    #[error("the server's response ended early, {0}; check the server and the proxies on the way")]
    Truncated(&'static str),
    /// An `ERR` line or a side-band error.
    #[error("the server rejects the request: {0}; try again later, or contact its administrator")]
    Server(String),
    /// More than any repository needs; no setting allows it.
    #[error(
        "the server sent more than {limit} {unit}, more than any repository needs; it cannot be delivered"
    )]
    Excessive { limit: u64, unit: &'static str },
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl ProtocolError {
    /// Reports whether another attempt may help. An error line may: a ref can disappear between listing and fetching.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Malformed(_) | Self::Truncated(_) | Self::Server(_) => true,
            Self::Excessive { .. } => false,
            Self::Pack(error) => error.is_transient(),
        }
    }
}
