//! The side-band protocol: pack data, progress and errors in one stream.

use std::io::Read;

use super::ProtocolError;
use super::pktline::{Line, Lines, server_message};
use crate::pack::PackSink;

const DATA: u8 = 1;
const PROGRESS: u8 = 2;
const ERROR: u8 = 3;

/// Reads side-band lines up to the flush and passes the pack to the sink.
pub fn read<R: Read>(lines: &mut Lines<R>, sink: &mut dyn PackSink) -> Result<(), ProtocolError> {
    loop {
        match lines.next("in the pack")? {
            Line::Flush => return Ok(()),
            Line::Data([DATA, bytes @ ..]) => sink.append(bytes)?,
            Line::Data([PROGRESS, ..]) => {}
            Line::Data([ERROR, words @ ..]) => return Err(ProtocolError::Server(server_message(words))),
            _ => return Err(ProtocolError::Malformed("an unexpected line in the pack".into())),
        }
    }
}
