//! The pkt-line framing of git's protocol, read by gix-packetline; its errors are converted here.

use std::io::Read;

use gix_packetline::PacketLineRef;
use gix_packetline::blocking_io::StreamingPeekableIter;
use workflow_contract::text;

use super::ProtocolError;

/// A line or a special packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Content including a trailing newline.
    Data(&'a [u8]),
    /// `0000`.
    Flush,
    /// `0001`.
    Delimiter,
    /// `0002`.
    ResponseEnd,
}

impl<'a> Line<'a> {
    /// The content without its trailing newline; `None` for special packets.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

pub struct Lines<R: Read> {
    inner: StreamingPeekableIter<R>,
    /// True if the stream ends with the response.
    ends: bool,
}

impl<R: Read> Lines<R> {
    pub fn new(read: R) -> Self {
        Self { inner: StreamingPeekableIter::new(read, &[], false), ends: true }
    }

    /// Reads lines of a connection that is used for further responses; reads nothing beyond this one.
    pub fn conversation(read: R) -> Self {
        Self { ends: false, ..Self::new(read) }
    }

    /// Returns the next line. `doing` completes the message "the response ended early, …".
    pub fn next(&mut self, doing: &'static str) -> Result<Line<'_>, ProtocolError> {
        let line = match self.inner.read_line() {
            None => return Err(ProtocolError::Truncated(doing)),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(ProtocolError::Truncated(doing));
            }
            Some(Err(error)) => return Err(ProtocolError::Read { doing, source: error }),
            Some(Ok(Err(_))) => {
                return Err(ProtocolError::Malformed(
                    "a line's length is not four hexadecimal digits".into(),
                ));
            }
            Some(Ok(Ok(line))) => line,
        };
        Ok(match line {
            PacketLineRef::Flush => Line::Flush,
            PacketLineRef::Delimiter => Line::Delimiter,
            PacketLineRef::ResponseEnd => Line::ResponseEnd,
            PacketLineRef::Data(data) => {
                if let Some(words) = data.strip_prefix(b"ERR ") {
                    return Err(ProtocolError::Server(server_message(words)));
                }
                Line::Data(data)
            }
        })
    }

    /// Passes all remaining bytes of the response, which are not in pkt-lines, to `take`.
    pub fn rest(
        mut self,
        doing: &'static str,
        take: &mut dyn FnMut(&[u8]) -> Result<(), crate::pack::PackError>,
    ) -> Result<(), ProtocolError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.inner.inner_mut().read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => take(&buffer[..read])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(ProtocolError::Truncated(doing));
                }
                Err(source) => return Err(ProtocolError::Read { doing, source }),
            }
        }
    }

    /// Reads the short rest of a response, so that its connection can be used again.
    pub fn drain(mut self) {
        if !self.ends {
            return;
        }
        let mut rest = [0; 512];
        // Content and errors after the end of a response are ignored.
        for _ in 0..16 {
            if !matches!(self.inner.inner_mut().read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

/// Sanitizes a server's message.
pub fn server_message(bytes: &[u8]) -> String {
    text::sanitize(String::from_utf8_lossy(bytes).trim())
}

/// Appends a line to a request.
pub fn put(request: &mut Vec<u8>, line: &str) {
    request.extend(format!("{:04x}{line}", line.len() + 4).bytes());
}

/// Ends a section.
pub const DELIMITER: &[u8] = b"0001";
/// Ends a request.
pub const FLUSH: &[u8] = b"0000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_written_lines() {
        let mut bytes = Vec::new();
        put(&mut bytes, "command=ls-refs\n");
        bytes.extend(DELIMITER);
        put(&mut bytes, "x");
        bytes.extend(FLUSH);
        let mut lines = Lines::new(&bytes[..]);
        assert_eq!(lines.next("").unwrap().text(), Some(&b"command=ls-refs"[..]));
        assert_eq!(lines.next("").unwrap(), Line::Delimiter);
        assert_eq!(lines.next("").unwrap(), Line::Data(b"x"));
        assert_eq!(lines.next("").unwrap(), Line::Flush);
        assert!(matches!(lines.next(""), Err(ProtocolError::Truncated(_))));
    }

    #[test]
    fn error_line_of_the_server_is_an_error_of_its_own() {
        let mut bytes = Vec::new();
        put(&mut bytes, "ERR not our ref\n");
        let error = Lines::new(&bytes[..]).next("").unwrap_err();
        assert!(matches!(error, ProtocolError::Server(words) if words == "not our ref"));
    }

    #[test]
    fn rejects_malformed_lines() {
        for bytes in [&b"<htm"[..], b"zzzz", b"0003", b"0004"] {
            assert!(matches!(Lines::new(bytes).next(""), Err(ProtocolError::Malformed(_))), "{bytes:?}");
        }
        for bytes in [&b""[..], b"00", b"000aabc"] {
            assert!(matches!(Lines::new(bytes).next(""), Err(ProtocolError::Truncated(_))), "{bytes:?}");
        }
    }
}
