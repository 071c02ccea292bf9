//! Name resolution that separates names that do not exist from failures that may pass.
//!
//! The standard library reports both as the same `io::Error`; `getaddrinfo` itself does not.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

/// A name without an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("its name does not resolve")]
    NoSuchName,
    /// The resolver failed or did not respond, as while cluster DNS restarts.
    #[error("its name cannot be resolved at the moment")]
    Temporary,
    #[error("its name was not resolved in time")]
    TimedOut,
}

impl ResolveError {
    /// Finds this error inside of an I/O error.
    pub fn of_io(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Resolves `host`, a name or an address without brackets. Blocks for at most `timeout`.
///
/// # Errors
/// [`ResolveError`]; without a response in time the lookup goes on in its thread and its result is dropped.
pub fn resolve(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
    let name = host.to_owned();
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("dns".into())
        .spawn(move || sender.send(lookup(&name, port)))
        .map_err(|_| ResolveError::Temporary)?;
    match receiver.recv_timeout(timeout) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(ResolveError::TimedOut),
        Err(RecvTimeoutError::Disconnected) => Err(ResolveError::Temporary),
    }
}

fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| classify(error.kind()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for mut address in found.flatten().map(|info| info.sockaddr) {
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NoSuchName) } else { Ok(addresses) }
}

fn classify(kind: LookupErrorKind) -> ResolveError {
    match kind {
        LookupErrorKind::NoName | LookupErrorKind::NoData => ResolveError::NoSuchName,
        _ => ResolveError::Temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_names_are_permanent() {
        for (kind, error) in [
            (LookupErrorKind::NoName, ResolveError::NoSuchName),
            (LookupErrorKind::NoData, ResolveError::NoSuchName),
            (LookupErrorKind::Again, ResolveError::Temporary),
            (LookupErrorKind::Fail, ResolveError::Temporary),
            (LookupErrorKind::System, ResolveError::Temporary),
        ] {
            assert_eq!(classify(kind), error, "{kind:?}");
        }
    }

    #[test]
    fn addresses_resolve_to_themselves() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")] {
            assert_eq!(resolve(host, 80, Duration::from_secs(10)), Ok(vec![address.parse().unwrap()]));
        }
    }
}
