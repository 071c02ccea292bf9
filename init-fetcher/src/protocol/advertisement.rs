//! The first thing that a server says: what it can do, and in protocol v0 what it has.

use std::io::Read;

use super::capabilities::Capabilities;
use super::pktline::{Line, Lines};
use super::{ProtocolError, Ref, v0, v2};

/// Reads the advertisement of either protocol version.
pub fn read<R: Read>(mut lines: Lines<R>) -> Result<(Capabilities, Vec<Ref>), ProtocolError> {
    const DOING: &str = "in the list of refs";
    let mut first = owned(&lines.next(DOING)?);
    if first.as_deref().is_some_and(|line| line.starts_with(b"# service=")) {
        // The service line is followed by a flush, then comes what a server without it sends at once.
        first = owned(&lines.next(DOING)?);
        if first.is_none() {
            first = owned(&lines.next(DOING)?);
        }
    }
    let Some(first) = first else {
        return Err(ProtocolError::Malformed("its first line is empty".into()));
    };
    match first.as_slice() {
        b"version 2" => {
            let capabilities = v2::read_capabilities(&mut lines)?;
            lines.drain();
            Ok((capabilities, Vec::new()))
        }
        b"version 1" => {
            let first = owned(&lines.next(DOING)?).unwrap_or_default();
            v0::read_refs(&first, lines)
        }
        _ => v0::read_refs(&first, lines),
    }
}

fn owned(line: &Line) -> Option<Vec<u8>> {
    line.text().map(<[u8]>::to_vec)
}
