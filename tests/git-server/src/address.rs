//! Which of this machine's addresses another host can reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};

/// The local address from which this machine reaches `host`, so the one on which that host, and what runs beside it,
/// can in turn reach this machine.
///
/// Only the routing table is used: "connecting" a UDP socket sends nothing.
pub fn address_facing(host: &str, port: u16) -> io::Result<IpAddr> {
    let peer = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")))?;
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_loopback_for_loopback() {
        assert_eq!(address_facing("127.0.0.1", 443).unwrap(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn rejects_a_host_without_address() {
        assert!(address_facing("no-such-host.invalid", 443).is_err());
    }
}
