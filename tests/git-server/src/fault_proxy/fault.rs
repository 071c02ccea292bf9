//! Faults, and the requests that they apply to. Pure.

use std::fmt;
use std::sync::Arc;

/// Phase of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection was accepted, nothing was sent yet.
    Connect,
    /// `info/refs`: capabilities; with protocol v0 also refs.
    Listing,
    /// `ls-refs` of protocol v2.
    Refs,
    /// A fetch with a filter: the commit and its trees.
    Subtree,
    /// Any other fetch: the pack that is delivered.
    Pack,
}

/// Requests that a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// As often as this, then no more.
    First(u32),
    /// For requests without an `Authorization` header.
    WithoutCredential,
    /// For requests with an `Authorization` header.
    WithCredential,
}

/// Position of a fault in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPosition {
    /// Before the first byte.
    Start,
    /// NextState this share of the body, or of the pack where there is one; never at its very end.
    Percent(u8),
}

/// Replacement of a valid response.
#[derive(Clone)]
pub enum Fault {
    /// The connection is reset (RST).
    Reset(FaultPosition),
    /// The connection is closed (FIN), whatever was announced.
    Close(FaultPosition),
    /// Nothing more is sent, until the client closes.
    Stall(FaultPosition),
    /// One byte a second.
    Drip,
    /// The body ends early within valid HTTP.
    Short(FaultPosition),
    /// One bit is another.
    Corrupt(FaultPosition),
    /// Another response: status, headers, body. On [`Phase::Connect`] it is sent without TLS.
    Response(u16, Vec<(&'static str, String)>, String),
    /// This happens only where the request's body lacks these words.
    Unless(&'static str, Box<Fault>),
    /// The server is asked for this object instead of the wanted one.
    WantInstead(String),
    /// This happens before the request goes on to the server.
    Before(Arc<dyn Fn() + Send + Sync>),
}

impl Fault {
    /// A response of this status without a body.
    pub fn status(status: u16) -> Self {
        Self::Response(status, Vec::new(), String::new())
    }

    pub fn redirect(location: &str) -> Self {
        Self::Response(302, vec![("Location", location.to_owned())], String::new())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(at) => write!(f, "Reset({at:?})"),
            Self::Close(at) => write!(f, "Close({at:?})"),
            Self::Stall(at) => write!(f, "Stall({at:?})"),
            Self::Drip => write!(f, "Drip"),
            Self::Short(at) => write!(f, "Short({at:?})"),
            Self::Corrupt(at) => write!(f, "Corrupt({at:?})"),
            Self::Response(status, headers, _) => write!(f, "Response({status}, {headers:?})"),
            Self::Unless(words, fault) => write!(f, "Unless({words:?}, {fault:?})"),
            Self::WantInstead(id) => write!(f, "WantInstead({id})"),
            Self::Before(_) => write!(f, "Before(..)"),
        }
    }
}

impl FaultPosition {
    /// The position in this body; `None` for before the response as a whole.
    pub(super) fn position(self, body: &[u8]) -> Option<usize> {
        let Self::Percent(percent) = self else { return None };
        let find = |mark: &[u8]| body.windows(mark.len()).position(|window| window == mark);
        let start = find(b"PACK").unwrap_or(0);
        let at = start + (body.len() - start) * usize::from(percent) / 100;
        Some(at.min(body.len().saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shares_from_the_pack() {
        assert_eq!(FaultPosition::Start.position(b"0123456789"), None);
        assert_eq!(FaultPosition::Percent(50).position(b"0123456789"), Some(5));
        assert_eq!(FaultPosition::Percent(100).position(b"0123456789"), Some(9));
        assert_eq!(FaultPosition::Percent(50).position(b"123456PACK"), Some(8));
        assert_eq!(FaultPosition::Percent(50).position(b""), Some(0));
    }
}
