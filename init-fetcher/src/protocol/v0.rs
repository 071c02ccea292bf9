//! Protocol v0, for servers that know nothing newer: every ref is listed, whatever is asked for.

use std::io::Read;

use super::capabilities::Capabilities;
use super::pktline::{FLUSH, Line, Lines, put};
use super::refs::Refs;
use super::v2::{AGENT, put_shallow};
use super::{ProtocolError, Received, Ref, Want, sideband};
use crate::oid;
use crate::pack::PackSink;

/// The list of refs, whose first line `first` was read already; that line carries the capabilities.
///
/// # Errors
/// Any [`ProtocolError`] of reading.
pub fn read_refs<R: Read>(
    first: &[u8],
    mut lines: Lines<R>,
) -> Result<(Capabilities, Vec<Ref>), ProtocolError> {
    let nul = first.iter().position(|&b| b == 0).ok_or_else(|| bad(first))?;
    let words: Vec<String> =
        String::from_utf8_lossy(&first[nul + 1..]).split_ascii_whitespace().map(str::to_owned).collect();
    let mut refs = Refs::default();
    put_ref(&first[..nul], &mut refs)?;
    loop {
        match lines.next("in the list of refs")? {
            Line::Flush => break,
            line => put_ref(line.text().ok_or_else(|| bad(b""))?, &mut refs)?,
        }
    }
    lines.drain();
    let mut refs = refs.into_vec();
    let head = words.iter().find_map(|word| word.strip_prefix("symref=HEAD:"));
    if let (Some(target), Some(head_ref)) = (head, refs.iter_mut().find(|r: &&mut Ref| r.name == "HEAD")) {
        head_ref.target = Some(target.to_owned());
    }
    Ok((Capabilities::V0(words), refs))
}

/// `OID NAME`, or `OID NAME^{}` for what the annotated tag before it leads to. An empty repository says
/// `0…0 capabilities^{}`.
fn put_ref(line: &[u8], refs: &mut Refs) -> Result<(), ProtocolError> {
    if line.starts_with(b"shallow ") {
        return Ok(());
    }
    let at = line.iter().position(|&b| b == b' ').ok_or_else(|| bad(line))?;
    let oid = oid::parse(&line[..at]).ok_or_else(|| bad(line))?;
    let Ok(name) = std::str::from_utf8(&line[at + 1..]) else { return Ok(()) };
    match name.strip_suffix("^{}") {
        Some("capabilities") => {}
        Some(tag) => {
            if let Some(last) = refs.last_mut().filter(|last| last.name == tag) {
                last.peeled = Some(oid);
            }
        }
        None => refs.put(Ref { name: name.to_owned(), oid, peeled: None, target: None })?,
    }
    Ok(())
}

fn bad(line: &[u8]) -> ProtocolError {
    ProtocolError::Malformed(format!("`{}` is not a ref", super::pktline::server_message(line)))
}

/// The request for a pack.
pub fn fetch(want: Want) -> Vec<u8> {
    let mut request = Vec::new();
    put(&mut request, &format!("want {} side-band-64k ofs-delta no-progress agent={AGENT}\n", want.oid));
    if want.shallow {
        put(&mut request, "deepen 1\n");
    }
    request.extend(FLUSH);
    put(&mut request, "done\n");
    request
}

/// The answer: shallow commits up to a flush where they were asked for, `NAK`, the pack.
///
/// # Errors
/// Any [`ProtocolError`] of reading, and those of the sink.
pub fn read_pack<R: Read>(
    want: Want,
    mut lines: Lines<R>,
    sink: &mut dyn PackSink,
) -> Result<Received, ProtocolError> {
    let mut received = Received::default();
    if want.shallow {
        loop {
            match lines.next("before the pack")? {
                Line::Flush => break,
                Line::Data(data) => put_shallow(data, &mut received)?,
                _ => return Err(ProtocolError::Malformed("an unexpected mark before the pack".into())),
            }
        }
    }
    if lines.next("before the pack")?.text() != Some(b"NAK") {
        return Err(ProtocolError::Malformed("no NAK before the pack".into()));
    }
    sideband::read(&mut lines, sink)?;
    lines.drain();
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(first: &str, rest: &[&str]) -> Result<(Capabilities, Vec<Ref>), ProtocolError> {
        let mut bytes = Vec::new();
        for line in rest {
            put(&mut bytes, line);
        }
        bytes.extend(FLUSH);
        read_refs(first.as_bytes(), Lines::new(&bytes[..]))
    }

    #[test]
    fn reads_refs_tags_and_capabilities() {
        let first = format!("{OID} HEAD\0side-band-64k symref=HEAD:refs/heads/trunk shallow");
        let (capabilities, refs) = read(
            &first,
            &[
                &format!("{OID} refs/heads/trunk\n"),
                &format!("{OID} refs/tags/v1\n"),
                &format!("{OID} refs/tags/v1^{{}}\n"),
            ],
        )
        .unwrap();
        assert!(!capabilities.want_any());
        let names: Vec<_> = refs.iter().map(|r| (r.name.as_str(), r.peeled.is_some())).collect();
        assert_eq!(names, [("HEAD", false), ("refs/heads/trunk", false), ("refs/tags/v1", true)]);
        assert_eq!(refs[0].target.as_deref(), Some("refs/heads/trunk"));
    }

    #[test]
    fn an_empty_repository_has_capabilities_and_no_refs() {
        let first = format!("{} capabilities^{{}}\0multi_ack", "0".repeat(40));
        assert!(read(&first, &[]).unwrap().1.is_empty());
    }

    #[test]
    fn rejects_what_is_no_list_of_refs() {
        assert!(read("hello", &[]).is_err());
        assert!(read(&format!("{OID} HEAD\0"), &["x"]).is_err());
    }
}
