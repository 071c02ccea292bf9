//! Git's framing: lines with a length before them. A thin layer over the library that reads it, so
//! that its errors become ours in one place.

use std::io::Read;

use gix_packetline::PacketLineRef;
use gix_packetline::blocking_io::StreamingPeekableIter;
use workflow_contract::text;

use super::ProtocolError;

/// A line, or one of the marks between lines.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line's bytes, a trailing newline included.
    Data(&'a [u8]),
    /// `0000`.
    Flush,
    /// `0001`.
    Delimiter,
    /// `0002`.
    ResponseEnd,
}

impl<'a> Line<'a> {
    /// The line without its trailing newline; `None` for marks.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Reads lines.
pub struct Lines<R: Read> {
    inner: StreamingPeekableIter<R>,
    /// Whether an answer's end is the end of what can be read.
    ends: bool,
}

impl<R: Read> Lines<R> {
    /// Reads lines from here on.
    pub fn new(read: R) -> Self {
        Self { inner: StreamingPeekableIter::new(read, &[], false), ends: true }
    }

    /// Reads lines of a connection that goes on after the answer: nothing is read beyond it.
    pub fn conversation(read: R) -> Self {
        Self { ends: false, ..Self::new(read) }
    }

    /// The next line. `doing` completes the message "the answer ended early, …".
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] at the end, [`ProtocolError::Refused`] for an `ERR` line,
    /// [`ProtocolError::Protocol`] for what is no line, and what the connection says.
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
                    return Err(ProtocolError::Refused(server_message(words)));
                }
                Line::Data(data)
            }
        })
    }

    /// Passes on all bytes up to the end of the answer, which are not in lines.
    ///
    /// # Errors
    /// [`ProtocolError::Read`], and what `take` returns.
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

    /// Reads what is left of the answer, which must be little, so that its connection can be used again.
    pub fn drain(mut self) {
        if !self.ends {
            return;
        }
        let mut rest = [0; 512];
        // What follows the end of an answer is of no interest, nor is why it can't be read.
        for _ in 0..16 {
            if !matches!(self.inner.inner_mut().read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

/// A server's words, fit for a message.
pub fn server_message(bytes: &[u8]) -> String {
    text::sanitize(String::from_utf8_lossy(bytes).trim())
}

/// Appends a line to a request.
pub fn put(request: &mut Vec<u8>, line: &str) {
    request.extend(format!("{:04x}{line}", line.len() + 4).bytes());
}

/// The end of a section.
pub const DELIMITER: &[u8] = b"0001";
/// The end of a request.
pub const FLUSH: &[u8] = b"0000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back() {
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
    fn the_servers_refusal_is_an_error_of_its_own() {
        let mut bytes = Vec::new();
        put(&mut bytes, "ERR not our ref\n");
        let error = Lines::new(&bytes[..]).next("").unwrap_err();
        assert!(matches!(error, ProtocolError::Refused(words) if words == "not our ref"));
    }

    #[test]
    fn what_is_no_line_is_a_broken_protocol() {
        for bytes in [&b"<htm"[..], b"zzzz", b"0003", b"0004"] {
            assert!(matches!(Lines::new(bytes).next(""), Err(ProtocolError::Malformed(_))), "{bytes:?}");
        }
        for bytes in [&b""[..], b"00", b"000aabc"] {
            assert!(matches!(Lines::new(bytes).next(""), Err(ProtocolError::Truncated(_))), "{bytes:?}");
        }
    }
}
