//! Protocol v0, for servers without v2: all refs are advertised.

use std::io::Read;

use super::capabilities::Capabilities;
use super::pktline::{FLUSH, Line, Lines, put};
use super::refs::Refs;
use super::v2::{AGENT, put_shallow};
use super::{ProtocolError, Received, Ref, Want, sideband};
use crate::oid;
use crate::pack::PackSink;

/// Reads the rest of the list of refs after its first line, which contains the capabilities.
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

/// Parses `OID NAME`, or `OID NAME^{}` for the target of the annotated tag before it. An empty repository
/// has the line `0…0 capabilities^{}`.
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

/// Framing of the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    SideBand,
    /// The rest of the response is the pack.
    Raw,
}

fn framing(capabilities: &Capabilities) -> Framing {
    let side_band = capabilities.has("side-band-64k") || capabilities.has("side-band");
    if side_band { Framing::SideBand } else { Framing::Raw }
}

/// The capabilities to request: of what is advertised, all that git requests. Some servers reject requests
/// without `multi_ack` or `thin-pack` although nothing depends on them in a request without `have` lines.
fn requested(want: Want, capabilities: &Capabilities) -> Vec<String> {
    let first_of =
        |names: &[&str]| names.iter().find(|name| capabilities.has(name)).map(|name| (*name).to_owned());
    let mut all = Vec::new();
    all.extend(first_of(&["multi_ack_detailed", "multi_ack"]));
    all.extend(first_of(&["side-band-64k", "side-band"]));
    for name in ["thin-pack", "no-progress", "ofs-delta"] {
        all.extend(first_of(&[name]));
    }
    if let (true, Ok(format)) = (capabilities.has("object-format"), capabilities.object_format()) {
        all.push(format!("object-format={}", format.str()));
    }
    if want.without_blobs {
        all.extend(first_of(&["filter"]));
    }
    if capabilities.has("agent") {
        all.push(format!("agent={AGENT}"));
    }
    all
}

/// Builds the request for a pack.
pub fn fetch(want: Want, capabilities: &Capabilities) -> Vec<u8> {
    let mut request = Vec::new();
    let words: String = requested(want, capabilities).iter().flat_map(|word| [" ", word.as_str()]).collect();
    for (oid, words) in want.oids.iter().zip(std::iter::once(words.as_str()).chain(std::iter::repeat(""))) {
        put(&mut request, &format!("want {oid}{words}\n"));
    }
    if want.shallow {
        put(&mut request, "deepen 1\n");
    }
    if want.without_blobs {
        put(&mut request, "filter blob:none\n");
    }
    request.extend(FLUSH);
    put(&mut request, "done\n");
    request
}

/// Reads the response: shallow commits up to a flush if requested, `NAK`, the pack.
pub fn read_pack<R: Read>(
    want: Want,
    capabilities: &Capabilities,
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
    match framing(capabilities) {
        Framing::SideBand => {
            sideband::read(&mut lines, sink)?;
            lines.drain();
        }
        Framing::Raw => lines.rest("in the pack", &mut |bytes| sink.append(bytes))?,
    }
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
    fn empty_repository_has_capabilities_and_no_refs() {
        let first = format!("{} capabilities^{{}}\0multi_ack", "0".repeat(40));
        assert!(read(&first, &[]).unwrap().1.is_empty());
    }

    fn v0(words: &str) -> Capabilities {
        Capabilities::V0(words.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn requests_only_advertised_capabilities() {
        for (advertised, requested) in [
            ("", ""),
            ("ofs-delta agent=go-git/5.x", " ofs-delta agent=AGENT"),
            ("side-band multi_ack", " multi_ack side-band"),
            (
                "multi_ack thin-pack side-band side-band-64k ofs-delta shallow no-progress include-tag \
                 multi_ack_detailed no-done symref=HEAD:refs/heads/main filter agent=git/2.47",
                " multi_ack_detailed side-band-64k thin-pack no-progress ofs-delta agent=AGENT",
            ),
        ] {
            let oids = &[oid::parse(OID.as_bytes()).unwrap()];
            let want = Want { oids, shallow: false, without_blobs: false };
            let request = String::from_utf8(fetch(want, &v0(advertised))).unwrap();
            assert!(!request.contains("filter"), "{request}");
            let line = request[4..].lines().next().unwrap().replace(AGENT, "AGENT");
            assert_eq!(line, format!("want {OID}{requested}"), "{advertised}");
        }
    }

    #[test]
    fn requests_a_filter_for_a_fetch_without_blobs() {
        let oids = &[oid::parse(OID.as_bytes()).unwrap()];
        let want = Want { oids, shallow: true, without_blobs: true };
        let request = String::from_utf8(fetch(want, &v0("filter ofs-delta"))).unwrap();
        assert!(request.contains(&format!("want {OID} ofs-delta filter\n")), "{request}");
        assert!(request.ends_with("000ddeepen 1\n0015filter blob:none\n00000009done\n"), "{request}");
    }

    struct Sink(Vec<u8>);
    impl PackSink for Sink {
        fn append(&mut self, bytes: &[u8]) -> Result<(), crate::pack::PackError> {
            self.0.extend(bytes);
            Ok(())
        }
    }

    #[test]
    fn reads_a_pack_with_and_without_side_band() {
        let oids = &[oid::parse(OID.as_bytes()).unwrap()];
        let want = Want { oids, shallow: false, without_blobs: false };
        for (words, response) in
            [("ofs-delta", "0008NAK\nPACKxyz"), ("side-band", "0008NAK\n0009\u{1}PACK0008\u{1}xyz0000")]
        {
            let mut sink = Sink(Vec::new());
            read_pack(want, &v0(words), Lines::new(response.as_bytes()), &mut sink).unwrap();
            assert_eq!(sink.0, b"PACKxyz", "{words}");
        }
    }

    #[test]
    fn rejects_other_lists() {
        assert!(read("hello", &[]).is_err());
        assert!(read(&format!("{OID} HEAD\0"), &["x"]).is_err());
    }
}
