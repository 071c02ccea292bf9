//! As much of HTTP/1.1 as stands between a git client and lighttpd: whole messages, read and written.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Bytes in a chunk of a response.
const CHUNK: usize = 4096;

/// A request or a response.
pub(super) struct Message {
    /// Request line or status line.
    pub(super) first: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Reads a request; `None` if the client has closed.
    pub(super) fn read_request(stream: &mut dyn Read) -> Option<Self> {
        let mut request = Self::parse_head(&read_head(stream)?);
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    /// Sends this request to a server and gives its response, the body's framing taken off.
    pub(super) fn send_to(&self, server: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        let mut wire = self.head(&["connection", "content-length"]);
        let _ = write!(wire, "Connection: close\r\nContent-Length: {}\r\n\r\n", self.body.len());
        stream.write_all(&[wire.as_bytes(), &self.body].concat())?;
        let head = read_head(&mut stream).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut response = Self::parse_head(&head);
        stream.read_to_end(&mut response.body)?;
        if response.header("transfer-encoding").is_some() {
            response.body = unchunked(&response.body).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(response)
    }

    /// A header's value, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The response's head as it goes to the client, its body announced in chunks.
    pub(super) fn chunked_head(&self) -> Vec<u8> {
        let head = self.head(&["connection", "content-length", "transfer-encoding"]);
        (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes()
    }

    /// The first `until` bytes of the body in chunks, as if all of it would come; all of it includes the end.
    pub(super) fn chunks(&self, until: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut left = until;
        for chunk in self.body.chunks(CHUNK) {
            wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
            let now = left.min(chunk.len());
            wire.extend(&chunk[..now]);
            if now < chunk.len() {
                return wire;
            }
            wire.extend(b"\r\n");
            left -= now;
        }
        wire.extend(b"0\r\n\r\n");
        wire
    }

    /// First line and headers but these, without the empty line.
    fn head(&self, without: &[&str]) -> String {
        let mut head = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            if !without.contains(&name.to_ascii_lowercase().as_str()) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        head
    }

    /// Request line and headers, .
    pub(super) fn whole_head(&self) -> String {
        self.head(&[])
    }

    fn parse_head(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { first, headers, body: Vec::new() }
    }
}

fn read_head(stream: &mut dyn Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn unchunked(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = wire.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&wire[..end]).ok()?.trim(), 16).ok()?;
        wire = &wire[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend(wire.get(..length)?);
        wire = wire.get(length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(body: &[u8]) -> Message {
        Message { first: "HTTP/1.1 200 OK".into(), headers: Vec::new(), body: body.to_vec() }
    }

    #[test]
    fn reads_back_chunks() {
        let body = vec![b'x'; CHUNK * 2 + 1];
        assert_eq!(unchunked(&response(&body).chunks(body.len())), Some(body));
        assert_eq!(response(b"").chunks(0), b"0\r\n\r\n");
    }

    #[test]
    fn part_announces_whole_length() {
        assert_eq!(response(b"hello").chunks(2), b"5\r\nhe");
        assert_eq!(response(b"hello").chunks(0), b"5\r\n");
    }

    #[test]
    fn reads_request_with_its_body() {
        let mut wire = &b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET"[..];
        let request = Message::read_request(&mut wire).unwrap();
        assert_eq!((request.first.as_str(), &request.body[..]), ("POST /x HTTP/1.1", &b"ab"[..]));
        assert_eq!(request.header("host"), Some("h"));
        assert!(Message::read_request(&mut &b"GET"[..]).is_none());
    }
}
