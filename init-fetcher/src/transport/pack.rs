//! From side-band lines to a pack's bytes.

use std::io::Read;

use super::pktline::{Line, Lines, words_of};
use super::{PackSink, TransportError};

const DATA: u8 = 1;
const PROGRESS: u8 = 2;
const ERROR: u8 = 3;

/// Reads side-band lines up to the flush that ends them.
///
/// # Errors
/// Any [`TransportError`] of reading, and those of the sink.
pub fn read<R: Read>(lines: &mut Lines<R>, sink: &mut dyn PackSink) -> Result<(), TransportError> {
    loop {
        match lines.next("in the pack")? {
            Line::Flush => return Ok(()),
            Line::Data([DATA, bytes @ ..]) => sink.append(bytes)?,
            Line::Data([PROGRESS, ..]) => {}
            Line::Data([ERROR, words @ ..]) => return Err(TransportError::Refused(words_of(words))),
            _ => return Err(TransportError::Protocol("an unexpected line in the pack".into())),
        }
    }
}
