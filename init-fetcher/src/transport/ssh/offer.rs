//! The algorithms that an ssh server offers, read from its first packet (RFC 4253, 4.2, 6 and 7.1). libssh2 reports only
//! that nothing fits.

use std::io::{self, BufRead, Read};

/// Maximum size of a packet that every implementation must accept (RFC 4253, 6.1).
const MAX_PACKET: u32 = 35_000;
/// Maximum number of lines before the identification string, and of bytes of each.
const MAX_LINES: usize = 50;
const MAX_LINE: u64 = 8 << 10;
const SSH_MSG_KEXINIT: u8 = 20;
/// Message number and cookie.
const HEADER: usize = 17;

/// Comma-separated names of a server's algorithms.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    pub key_exchange: String,
    pub host_key: String,
    /// From client to server, as all others below.
    pub cipher: String,
    pub mac: String,
}

/// Reads the identification string and the first packet of a server.
pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Offer>> {
    for _ in 0..MAX_LINES {
        let mut line = Vec::new();
        (&mut *stream).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.starts_with(b"SSH-") {
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            let [a, b, c, d, padding] = head;
            let length = u32::from_be_bytes([a, b, c, d]);
            if length > MAX_PACKET {
                return Ok(None);
            }
            let mut packet = Vec::new();
            let rest = u64::from(length.saturating_sub(1));
            (&mut *stream).take(rest).read_to_end(&mut packet)?;
            let payload = packet.len().saturating_sub(padding.into());
            return Ok(parse(&packet[..payload]));
        }
        if line.is_empty() {
            break;
        }
    }
    Ok(None)
}

/// Parses a `SSH_MSG_KEXINIT`. Its lists are: key exchange, host keys, ciphers and MACs, the latter two for each direction.
fn parse(payload: &[u8]) -> Option<Offer> {
    if payload.first() != Some(&SSH_MSG_KEXINIT) {
        return None;
    }
    let (key_exchange, rest) = list(payload.get(HEADER..)?)?;
    let (host_key, rest) = list(rest)?;
    let (cipher, rest) = list(rest)?;
    let (_, rest) = list(rest)?;
    let (mac, _) = list(rest)?;
    Some(Offer { key_exchange, host_key, cipher, mac })
}

fn list(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (names, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((String::from_utf8_lossy(names).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(lists: [&str; 5]) -> Vec<u8> {
        let mut payload = vec![SSH_MSG_KEXINIT; HEADER];
        for names in lists {
            payload.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
            payload.extend(names.as_bytes());
        }
        let mut packet = u32::try_from(payload.len() + 5).unwrap().to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    #[test]
    fn reads_all_lists_behind_a_banner() {
        let bytes = [&b"welcome\r\nSSH-2.0-x\r\n"[..], &packet(["a,b", "ssh-dss", "c", "x", "m"])].concat();
        let offer = Offer {
            key_exchange: "a,b".to_owned(),
            host_key: "ssh-dss".to_owned(),
            cipher: "c".to_owned(),
            mac: "m".to_owned(),
        };
        assert_eq!(read(&mut &bytes[..]).unwrap(), Some(offer));
        for end in 0..bytes.len() - 4 {
            assert!(!matches!(read(&mut &bytes[..end]), Ok(Some(_))), "cut at {end}");
        }
    }

    #[test]
    fn other_protocols_offer_nothing() {
        for bytes in [&b"HTTP/1.1 400\r\n\r\n"[..], b"", b"SSH-2.0-x\n\xff\xff\xff\xff\0", &[b'x'; 9000]] {
            assert!(!matches!(read(&mut &bytes[..]), Ok(Some(_))));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_packet_is_parsed_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&mut &[b"SSH-2.0-x\n", &bytes[..]].concat()[..]);
            let _ = parse(&bytes);
        }
    }
}
