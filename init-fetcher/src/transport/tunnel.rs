//! A TCP connection through a proxy: CONNECT (RFC 9110, 9.3.6) or SOCKS5 (RFC 1928, RFC 1929).
//!
//! https goes through proxies in the HTTP library; ssh uses these.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::config::proxy::ProxyLogin;
use crate::transport::error::io_message;

/// Maximum length of a proxy's response to CONNECT, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// A proxy that does not give a connection.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("{}", io_message(.0))]
    Io(#[from] io::Error),
    /// The proxy demands another user name and password.
    #[error("the user name and password are missing or denied")]
    Login,
    /// A status of CONNECT other than 2xx.
    #[error("status {0}")]
    Status(u16),
    /// A reply of SOCKS5 other than success.
    #[error("{0}")]
    Reply(&'static str),
    /// A response in another protocol.
    #[error("its response is not that of {0} proxy")]
    Protocol(&'static str),
}

/// Asks an HTTP proxy for a connection to `host`, a name or an address, IPv6 in brackets.
pub fn connect(
    stream: &mut (impl Read + Write),
    host: &str,
    port: u16,
    login: Option<&ProxyLogin>,
) -> Result<(), TunnelError> {
    let authorization = login.map(|login| {
        let pair = format!("{}:{}", login.username.expose(), login.password.expose());
        format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair))
    });
    let authorization = authorization.unwrap_or_default();
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut header = Vec::new();
    // Byte by byte: what follows the header belongs to the server.
    while !header.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        header.push(byte[0]);
        if header.len() > MAX_HEADER {
            return Err(TunnelError::Protocol("an HTTP"));
        }
    }
    match status(&header).ok_or(TunnelError::Protocol("an HTTP"))? {
        200..=299 => Ok(()),
        407 => Err(TunnelError::Login),
        status => Err(TunnelError::Status(status)),
    }
}

/// Parses the status of a response header.
fn status(header: &[u8]) -> Option<u16> {
    let line = header.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok()
}

/// Asks a SOCKS5 proxy for a connection to `host`, a name or an address without brackets; the proxy resolves names.
pub fn socks5(
    stream: &mut (impl Read + Write),
    host: &str,
    port: u16,
    login: Option<&ProxyLogin>,
) -> Result<(), TunnelError> {
    const NO_LOGIN: u8 = 0;
    const PASSWORD: u8 = 2;
    const VERSION: u8 = 5;
    let methods: &[u8] =
        if login.is_some() { &[VERSION, 2, NO_LOGIN, PASSWORD] } else { &[VERSION, 1, NO_LOGIN] };
    stream.write_all(methods)?;
    match (read::<2>(stream)?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, PASSWORD], Some(login)) => {
            let mut request = vec![1];
            for value in [&login.username, &login.password] {
                push_short(&mut request, value.expose()).ok_or(TunnelError::Login)?;
            }
            stream.write_all(&request)?;
            if read::<2>(stream)?[1] != 0 {
                return Err(TunnelError::Login);
            }
        }
        ([VERSION, _], _) => return Err(TunnelError::Login),
        _ => return Err(TunnelError::Protocol("a SOCKS5")),
    }
    let mut request = vec![VERSION, 1, 0];
    match host.parse() {
        Ok(std::net::IpAddr::V4(address)) => request.extend([1].iter().chain(&address.octets())),
        Ok(std::net::IpAddr::V6(address)) => request.extend([4].iter().chain(&address.octets())),
        Err(_) => {
            request.push(3);
            push_short(&mut request, host).ok_or(TunnelError::Reply("the host name is too long"))?;
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request)?;
    let [version, reply, _, kind] = read::<4>(stream)?;
    if version != VERSION {
        return Err(TunnelError::Protocol("a SOCKS5"));
    }
    if reply != 0 {
        return Err(TunnelError::Reply(reply_message(reply)));
    }
    // The address that the proxy connects from.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(read::<1>(stream)?[0]),
        _ => return Err(TunnelError::Protocol("a SOCKS5")),
    };
    io::copy(&mut stream.take(length as u64 + 2), &mut io::sink())?;
    Ok(())
}

/// Reply codes of RFC 1928, section 6.
fn reply_message(code: u8) -> &'static str {
    match code {
        2 => "the connection is not allowed by its rules",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "connection refused",
        6 => "no connection in time",
        _ => "it gives no connection",
    }
}

/// Appends a length of one byte and the text; `None` for more than 255 bytes.
fn push_short(request: &mut Vec<u8>, text: &str) -> Option<()> {
    request.push(u8::try_from(text.len()).ok()?);
    request.extend(text.as_bytes());
    Some(())
}

fn read<const N: usize>(stream: &mut impl Read) -> Result<[u8; N], TunnelError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::Secret;

    /// A stream with a prepared response.
    struct Scripted {
        response: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Scripted {
        fn new(response: &[u8]) -> Self {
            Self { response: io::Cursor::new(response.to_vec()), sent: Vec::new() }
        }

        fn rest(mut self) -> Vec<u8> {
            let mut rest = Vec::new();
            self.response.read_to_end(&mut rest).unwrap();
            rest
        }
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.response.read(buffer)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn login() -> ProxyLogin {
        ProxyLogin { username: Secret::new("me"), password: Secret::new("s3cret") }
    }

    #[test]
    fn connect_leaves_the_bytes_of_the_server() {
        let mut stream = Scripted::new(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0");
        connect(&mut stream, "[::1]", 22, Some(&login())).unwrap();
        let sent = String::from_utf8(stream.sent.clone()).unwrap();
        assert_eq!(
            sent,
            "CONNECT [::1]:22 HTTP/1.1\r\nHost: [::1]:22\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n\r\n"
        );
        assert_eq!(stream.rest(), b"SSH-2.0");
    }

    #[test]
    fn connect_reports_denials_and_other_protocols() {
        let result = |response: &[u8]| connect(&mut Scripted::new(response), "h", 22, None).unwrap_err();
        assert!(matches!(result(b"HTTP/1.1 407 x\r\n\r\n"), TunnelError::Login));
        assert!(matches!(result(b"HTTP/1.0 503 x\r\n\r\n"), TunnelError::Status(503)));
        assert!(matches!(result(b"\x05\xff\r\n\r\n"), TunnelError::Protocol(_)));
        assert!(matches!(result(b"HTTP/1.1 2"), TunnelError::Io(_)));
        assert!(matches!(result(&vec![b'x'; MAX_HEADER + 1]), TunnelError::Protocol(_)));
    }

    #[test]
    fn socks5_logs_in_and_leaves_the_bytes_of_the_server() {
        let mut stream = Scripted::new(b"\x05\x02\x01\x00\x05\x00\x00\x03\x01h\x00\x16SSH-2.0");
        socks5(&mut stream, "git.example", 22, Some(&login())).unwrap();
        assert_eq!(
            stream.sent,
            b"\x05\x02\x00\x02\x01\x02me\x06s3cret\x05\x01\x00\x03\x0bgit.example\x00\x16"
        );
        assert_eq!(stream.rest(), b"SSH-2.0");
        let mut stream = Scripted::new(b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x16");
        socks5(&mut stream, "127.0.0.1", 22, None).unwrap();
        assert_eq!(stream.sent, b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16");
    }

    #[test]
    fn socks5_reports_denials_and_other_protocols() {
        let result = |response: &[u8], login: Option<&ProxyLogin>| {
            socks5(&mut Scripted::new(response), "h", 22, login).unwrap_err()
        };
        assert!(matches!(result(b"\x05\xff", None), TunnelError::Login));
        assert!(matches!(result(b"\x05\x02\x01\x01", Some(&login())), TunnelError::Login));
        assert!(matches!(result(b"HTTP/1.1 400", None), TunnelError::Protocol(_)));
        let denied = result(b"\x05\x00\x05\x02\x00\x01", None);
        assert!(denied.to_string().contains("not allowed"), "{denied}");
    }

    #[test]
    fn errors_never_contain_the_password() {
        let error =
            connect(&mut Scripted::new(b"HTTP/1.1 407 x\r\n\r\n"), "h", 22, Some(&login())).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
