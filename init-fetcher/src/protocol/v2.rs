//! Protocol v2.

use std::io::Read;

use workflow_contract::text;

use super::capabilities::Capabilities;
use super::pktline::{DELIMITER, FLUSH, Line, Lines, put};
use super::refs::Refs;
use super::{Listing, ProtocolError, Received, Ref, Want, sideband};
use crate::oid;
use crate::pack::PackSink;

/// Agent in requests.
pub const AGENT: &str = concat!("workflow-init-fetcher/", env!("CARGO_PKG_VERSION"));

/// Maximum bytes of all capabilities.
const MAX_CAPABILITIES: usize = 64 << 10;
/// Maximum number of shallow commits; one per requested commit is usual.
const MAX_SHALLOW: usize = 1000;

/// Reads the capabilities after the line `version 2`.
pub fn read_capabilities<R: Read>(lines: &mut Lines<R>) -> Result<Capabilities, ProtocolError> {
    let mut all = Vec::new();
    let mut bytes = 0;
    loop {
        match lines.next("in the list of capabilities")? {
            Line::Flush => return Ok(Capabilities::V2(all)),
            line => {
                let Some(text) = line.text() else { return Err(unexpected("in the list of capabilities")) };
                bytes += size_of::<String>() + text.len();
                if bytes > MAX_CAPABILITIES {
                    return Err(ProtocolError::Malformed("its list of capabilities does not end".into()));
                }
                all.push(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
}

/// Starts a request.
fn command(name: &str, capabilities: &Capabilities) -> Vec<u8> {
    let mut request = Vec::new();
    put(&mut request, &format!("command={name}\n"));
    if capabilities.has("agent") {
        put(&mut request, &format!("agent={AGENT}\n"));
    }
    request_format(&mut request, capabilities);
    request
}

/// Adds `object-format` if the server advertises it.
fn request_format(request: &mut Vec<u8>, capabilities: &Capabilities) {
    if let (true, Ok(format)) = (capabilities.has("object-format"), capabilities.object_format()) {
        put(request, &format!("object-format={}\n", format.str()));
    }
}

/// Builds the request `ls-refs`.
pub fn ls_refs(listing: Listing, capabilities: &Capabilities) -> Vec<u8> {
    let mut request = command("ls-refs", capabilities);
    request.extend(DELIMITER);
    put(&mut request, "peel\n");
    put(&mut request, "symrefs\n");
    match listing {
        Listing::Named(name) => {
            put(&mut request, &format!("ref-prefix refs/heads/{name}\n"));
            put(&mut request, &format!("ref-prefix refs/tags/{name}\n"));
        }
        Listing::Full(name) => put(&mut request, &format!("ref-prefix {name}\n")),
        Listing::All => {
            put(&mut request, "ref-prefix HEAD\n");
            put(&mut request, "ref-prefix refs/heads/\n");
            put(&mut request, "ref-prefix refs/tags/\n");
        }
    }
    request.extend(FLUSH);
    request
}

/// Reads the response to `ls-refs`.
pub fn read_refs<R: Read>(mut lines: Lines<R>) -> Result<Vec<Ref>, ProtocolError> {
    let mut refs = Refs::default();
    loop {
        match lines.next("in the list of refs")? {
            Line::Flush => break,
            line => {
                let Some(text) = line.text() else { return Err(unexpected("in the list of refs")) };
                if let Some(found) = read_ref(text)? {
                    refs.put(found)?;
                }
            }
        }
    }
    lines.drain();
    Ok(refs.into_vec())
}

/// Parses `OID NAME [symref-target:NAME] [peeled:OID]`. Names that are not UTF-8 cannot be requested and are
/// skipped, as is an unborn `HEAD`.
fn read_ref(line: &[u8]) -> Result<Option<Ref>, ProtocolError> {
    let bad = || {
        let line = text::sanitize(&String::from_utf8_lossy(line));
        ProtocolError::Malformed(format!("`{line}` is not a ref"))
    };
    if line.starts_with(b"unborn ") {
        return Ok(None);
    }
    let mut words = line.split(|&b| b == b' ');
    let oid = words.next().and_then(oid::parse).ok_or_else(bad)?;
    let name = words.next().filter(|name| !name.is_empty()).ok_or_else(bad)?;
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    let mut found = Ref { name: name.to_owned(), oid, peeled: None, target: None };
    for word in words {
        if let Some(target) = word.strip_prefix(b"symref-target:") {
            found.target = Some(String::from_utf8_lossy(target).into_owned());
        } else if let Some(peeled) = word.strip_prefix(b"peeled:") {
            found.peeled = Some(oid::parse(peeled).ok_or_else(bad)?);
        }
    }
    Ok(Some(found))
}

/// Builds the request `fetch`.
pub fn fetch(want: Want, capabilities: &Capabilities) -> Vec<u8> {
    let mut request = command("fetch", capabilities);
    request.extend(DELIMITER);
    // As git does. Without `have` lines no pack is thin.
    put(&mut request, "thin-pack\n");
    put(&mut request, "no-progress\n");
    put(&mut request, "ofs-delta\n");
    if want.without_blobs {
        put(&mut request, "filter blob:none\n");
    }
    if want.shallow {
        put(&mut request, "deepen 1\n");
    }
    for oid in want.oids {
        put(&mut request, &format!("want {oid}\n"));
    }
    put(&mut request, "done\n");
    request.extend(FLUSH);
    request
}

/// Reads the response to `fetch`: sections, the last of which is the pack.
pub fn read_pack<R: Read>(mut lines: Lines<R>, sink: &mut dyn PackSink) -> Result<Received, ProtocolError> {
    let mut received = Received::default();
    loop {
        let header = match lines.next("before the pack")? {
            Line::Data(data) => data.strip_suffix(b"\n").unwrap_or(data).to_vec(),
            _ => return Err(unexpected("before the pack")),
        };
        if header == b"packfile" {
            sideband::read(&mut lines, sink)?;
            lines.drain();
            return Ok(received);
        }
        // After `done` there are no `acknowledgments`; unknown sections are skipped.
        loop {
            match lines.next("before the pack")? {
                Line::Delimiter => break,
                Line::Data(data) if header == b"shallow-info" => put_shallow(data, &mut received)?,
                Line::Data(_) => {}
                Line::Flush | Line::ResponseEnd => return Err(ProtocolError::Truncated("before the pack")),
            }
        }
    }
}

/// Parses `shallow OID`; there is no `unshallow` for a client without history.
pub fn put_shallow(line: &[u8], received: &mut Received) -> Result<(), ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    received.shallow.extend(line.strip_prefix(b"shallow ").and_then(oid::parse));
    if received.shallow.len() > MAX_SHALLOW {
        return Err(ProtocolError::Malformed("it cuts the history in too many places".into()));
    }
    Ok(())
}

fn unexpected(place: &str) -> ProtocolError {
    ProtocolError::Malformed(format!("an unexpected mark {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn none() -> Capabilities {
        Capabilities::V2(Vec::new())
    }

    #[derive(Default)]
    struct Sink(Vec<u8>);
    impl PackSink for Sink {
        fn append(&mut self, bytes: &[u8]) -> Result<(), crate::pack::PackError> {
            self.0.extend(bytes);
            Ok(())
        }
    }

    fn response(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            match *line {
                "0000" | "0001" | "0002" => bytes.extend(line.bytes()),
                line => put(&mut bytes, line),
            }
        }
        bytes
    }

    #[test]
    fn lists_one_branch_and_one_tag() {
        let request = String::from_utf8(ls_refs(Listing::Named("v1"), &none())).unwrap();
        assert!(request.contains("ref-prefix refs/heads/v1\n"));
        assert!(request.contains("ref-prefix refs/tags/v1\n"));
        assert!(request.ends_with("0000"));
    }

    #[test]
    fn requests_only_the_wanted_objects() {
        let oids = &[oid::parse(OID.as_bytes()).unwrap()];
        let text = |want| String::from_utf8(fetch(want, &none())).unwrap();
        let lean = text(Want { oids, shallow: true, without_blobs: true });
        assert!(lean.contains("filter blob:none\n") && lean.contains("deepen 1\n"), "{lean}");
        let tree = text(Want { oids, shallow: false, without_blobs: false });
        assert!(!tree.contains("filter") && !tree.contains("deepen"), "{tree}");
        assert!(tree.ends_with(&format!("0032want {OID}\n0009done\n0000")), "{tree}");
    }

    #[test]
    fn reads_refs_with_their_targets() {
        let bytes = response(&[
            &format!("{OID} HEAD symref-target:refs/heads/main\n"),
            &format!("{OID} refs/tags/v1 peeled:{OID}\n"),
            "unborn HEAD symref-target:refs/heads/main\n",
            "0000",
        ]);
        let refs = read_refs(Lines::new(&bytes[..])).unwrap();
        assert_eq!(refs.len(), 2);
        assert_eq!(refs[0].target.as_deref(), Some("refs/heads/main"));
        assert_eq!((refs[1].name.as_str(), refs[1].peeled.is_some()), ("refs/tags/v1", true));
    }

    #[test]
    fn rejects_other_lists() {
        for lines in [&["0001"][..], &["hello\n", "0000"], &[OID, "0000"]] {
            let bytes = response(lines);
            assert!(
                matches!(read_refs(Lines::new(&bytes[..])), Err(ProtocolError::Malformed(_))),
                "{lines:?}"
            );
        }
        let bytes = response(&[&format!("{OID} refs/heads/x\n")]);
        assert!(matches!(read_refs(Lines::new(&bytes[..])), Err(ProtocolError::Truncated(_))));
    }

    #[test]
    fn rejects_lists_without_end() {
        let many = |line: &str, count: usize| response(&vec![line; count]);
        let capabilities = many("x", 10_000);
        let error = read_capabilities(&mut Lines::new(&capabilities[..])).unwrap_err();
        assert!(matches!(error, ProtocolError::Malformed(_)), "{error}");
        let shallow = [response(&["shallow-info\n"]), many(&format!("shallow {OID}\n"), 2000)].concat();
        let error = read_pack(Lines::new(&shallow[..]), &mut Sink::default()).unwrap_err();
        assert!(matches!(error, ProtocolError::Malformed(_)), "{error}");
        let refs = many(&format!("{OID} refs/heads/{}\n", "x".repeat(65_000)), 1100);
        let error = read_refs(Lines::new(&refs[..])).unwrap_err();
        assert!(matches!(error, ProtocolError::Excessive { .. }), "{error}");
    }

    #[test]
    fn reads_a_pack_with_its_shallow_commits() {
        let shallow = format!("shallow {OID}\n");
        let bytes = response(&[
            "shallow-info\n",
            &shallow,
            "0001",
            "packfile\n",
            "\u{2}progress",
            "\u{1}PACK",
            "\u{1}x",
            "0000",
        ]);
        let mut sink = Sink::default();
        let received = read_pack(Lines::new(&bytes[..]), &mut sink).unwrap();
        assert_eq!(received.shallow, [oid::parse(OID.as_bytes()).unwrap()]);
        assert_eq!(sink.0, b"PACKx");
    }

    #[test]
    fn rejects_packs_that_end_early_or_in_an_error() {
        let mut sink = Sink::default();
        let mut read = |lines: &[&str]| read_pack(Lines::new(&response(lines)[..]), &mut sink).unwrap_err();
        assert!(matches!(read(&["packfile\n", "\u{1}PACK"]), ProtocolError::Truncated(_)));
        assert!(matches!(read(&["packfile\n", "\u{3}no memory", "0000"]), ProtocolError::Server(_)));
        assert!(matches!(read(&["ERR filter 'x' not supported"]), ProtocolError::Server(_)));
        assert!(matches!(read(&["packfile\n", "\u{9}x", "0000"]), ProtocolError::Malformed(_)));
        assert!(matches!(read(&["0000"]), ProtocolError::Malformed(_)));
    }
}
