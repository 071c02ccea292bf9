//! The first response of a server: its capabilities, and over protocol v0 its refs.

use std::io::Read;

use super::capabilities::Capabilities;
use super::pktline::{Line, Lines};
use super::{ProtocolError, Ref, v0, v2};

/// Reads the advertisement of either protocol version.
pub fn read<R: Read>(mut lines: Lines<R>) -> Result<(Capabilities, Vec<Ref>), ProtocolError> {
    const DOING: &str = "in the list of refs";
    let mut first = owned(&lines.next(DOING)?);
    if first.as_deref().is_some_and(|line| line.starts_with(b"# service=")) {
        // The service line and a flush precede what servers without it send directly.
        first = owned(&lines.next(DOING)?);
        if first.is_none() {
            first = owned(&lines.next(DOING)?);
        }
    }
    // A repository without refs: git before 2.41 advertises nothing at all over v0.
    let Some(first) = first else { return Ok((Capabilities::V0(Vec::new()), Vec::new())) };
    match first.as_slice() {
        b"version 2" => {
            let capabilities = v2::read_capabilities(&mut lines)?;
            lines.drain();
            Ok((capabilities, Vec::new()))
        }
        b"version 1" => match owned(&lines.next(DOING)?) {
            Some(first) => v0::read_refs(&first, lines),
            None => Ok((Capabilities::V0(Vec::new()), Vec::new())),
        },
        _ => v0::read_refs(&first, lines),
    }
}

fn owned(line: &Line) -> Option<Vec<u8>> {
    line.text().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_repository_is_a_list_without_refs() {
        for response in ["0000", "001e# service=git-upload-pack\n00000000", "000eversion 1\n0000"] {
            let (capabilities, refs) = read(Lines::new(response.as_bytes())).unwrap();
            assert_eq!((capabilities, refs), (Capabilities::V0(Vec::new()), Vec::new()), "{response}");
        }
        assert!(matches!(read(Lines::new(&b""[..])), Err(ProtocolError::Truncated(_))));
    }
}
