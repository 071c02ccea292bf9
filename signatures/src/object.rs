//! The signature of a commit or tag object and the bytes that it signs, split as git's `gpg-interface.c` does.

/// Hash algorithm of a repository's object ids, which decides which header of a commit is its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFormat {
    Sha1,
    Sha256,
}

impl ObjectFormat {
    fn header(self) -> &'static [u8] {
        match self {
            Self::Sha1 => b"gpgsig ",
            Self::Sha256 => b"gpgsig-sha256 ",
        }
    }
}

/// Kind of object that carries a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedKind {
    Commit,
    Tag,
}

/// A signature and the bytes that it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedObject {
    /// The object without its signature.
    pub payload: Vec<u8>,
    /// Armored signature.
    pub signature: Vec<u8>,
    /// Time of committer or tagger in Unix seconds.
    pub time: Option<i64>,
}

/// Lines by which a signature at the end of a tag begins.
const ARMORS: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
];

/// Returns the signature of an object; `None` if it has none.
#[must_use]
pub fn split(kind: SignedKind, object: &[u8], format: ObjectFormat) -> Option<SignedObject> {
    let (payload, signature) = match kind {
        SignedKind::Commit => split_commit(object, format)?,
        SignedKind::Tag => split_tag(object)?,
    };
    let signer = match kind {
        SignedKind::Commit => &b"committer "[..],
        SignedKind::Tag => &b"tagger "[..],
    };
    let time = header(&payload, signer).and_then(time_of);
    Some(SignedObject { payload, signature, time })
}

/// Returns the value of a header line of a commit or tag.
#[must_use]
pub fn header<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    object.split(|&b| b == b'\n').take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name))
}

/// The signature is a header whose further lines start with a space; headers of other algorithms are not signed.
fn split_commit(object: &[u8], format: ObjectFormat) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut payload, mut signature) = (Vec::with_capacity(object.len()), Vec::new());
    let (mut in_signature, mut in_other, mut found) = (false, false, false);
    let mut rest = object;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_length(rest));
        let continued = line.strip_prefix(b" ").filter(|_| in_signature);
        let signed = continued.or_else(|| line.strip_prefix(format.header()));
        if let Some(text) = signed {
            in_other = false;
            signature.extend_from_slice(text);
            found = true;
        } else {
            in_other = line.starts_with(b"gpgsig") || (in_other && line.starts_with(b" "));
            if !in_other && line == b"\n" {
                payload.extend_from_slice(rest);
                break;
            }
            if !in_other {
                payload.extend_from_slice(line);
            }
        }
        in_signature = signed.is_some();
        rest = after;
    }
    found.then_some((payload, signature))
}

/// The signature of a tag is the end of its message, from the last line that begins one.
fn split_tag(object: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut at, mut start) = (0, None);
    while at < object.len() {
        if ARMORS.iter().any(|armor| object[at..].starts_with(armor)) {
            start = Some(at);
        }
        at += line_length(&object[at..]);
    }
    let (payload, signature) = object.split_at(start?);
    Some((without_signature_headers(payload), signature.to_vec()))
}

/// Removes the headers `gpgsig` and `gpgsig-sha256`, which a tag of a repository with two hash algorithms has.
fn without_signature_headers(payload: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest, mut in_signature) = (Vec::with_capacity(payload.len()), payload, false);
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_length(rest));
        in_signature =
            [ObjectFormat::Sha1, ObjectFormat::Sha256].iter().any(|f| line.starts_with(f.header()))
                || (in_signature && line.starts_with(b" "));
        if !in_signature && line == b"\n" {
            kept.extend_from_slice(rest);
            break;
        }
        if !in_signature {
            kept.extend_from_slice(line);
        }
        rest = after;
    }
    kept
}

/// Length of the first line with its line break.
fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').map_or(text.len(), |at| at + 1)
}

/// Reads the time of `NAME <EMAIL> SECONDS ZONE`.
fn time_of(identity: &[u8]) -> Option<i64> {
    let after = &identity[identity.iter().rposition(|&b| b == b'>')? + 1..];
    let seconds = std::str::from_utf8(after).ok()?.split_ascii_whitespace().next()?;
    seconds.parse().ok().filter(|seconds| *seconds >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "tree 1\nauthor A <a@b> 1 +0000\ncommitter C <c@d> 1700000000 +0100\n";

    fn commit(format: ObjectFormat, object: &str) -> Option<(String, String)> {
        let split = split(SignedKind::Commit, object.as_bytes(), format)?;
        Some((String::from_utf8(split.payload).unwrap(), String::from_utf8(split.signature).unwrap()))
    }

    #[test]
    fn splits_a_commit_into_signature_and_the_rest() {
        let object = format!("{HEAD}gpgsig -----BEGIN\n \n x\n -----END\nencoding x\n\ngpgsig no\n x\n");
        let (payload, signature) = commit(ObjectFormat::Sha1, &object).unwrap();
        assert_eq!(payload, format!("{HEAD}encoding x\n\ngpgsig no\n x\n"));
        assert_eq!(signature, "-----BEGIN\n\nx\n-----END\n");
        assert_eq!(commit(ObjectFormat::Sha256, &object), None);
        let time = split(SignedKind::Commit, object.as_bytes(), ObjectFormat::Sha1).unwrap().time;
        assert_eq!(time, Some(1_700_000_000));
    }

    #[test]
    fn a_signature_of_the_other_hash_algorithm_is_not_signed() {
        let object = format!("{HEAD}gpgsig one\n two\ngpgsig-sha256 three\n four\n\nmessage\n");
        let unsigned = format!("{HEAD}\nmessage\n");
        let of = |format| commit(format, &object).unwrap();
        assert_eq!(of(ObjectFormat::Sha1), (unsigned.clone(), "one\ntwo\n".to_owned()));
        assert_eq!(of(ObjectFormat::Sha256), (unsigned, "three\nfour\n".to_owned()));
    }

    #[test]
    fn the_signature_of_a_tag_starts_at_the_last_line_that_begins_one() {
        let tag = "object 1\ntype commit\ntag v1\ntagger T <t@u> 5 +0000\n\nx\n-----BEGIN PGP SIGNATURE-----\nquoted\n";
        let object = format!("{tag}-----BEGIN SSH SIGNATURE-----\ny\n");
        let split = |text: &str| split(SignedKind::Tag, text.as_bytes(), ObjectFormat::Sha1);
        let found = split(&object).unwrap();
        assert_eq!(found.payload, tag.as_bytes());
        assert_eq!(found.signature, b"-----BEGIN SSH SIGNATURE-----\ny\n");
        assert_eq!(found.time, Some(5));
        assert_eq!(split("object 1\n\nno -----BEGIN SSH SIGNATURE-----\n"), None);
    }

    #[test]
    fn headers_with_signatures_are_no_part_of_a_tags_payload() {
        let object = b"object 1\ngpgsig-sha256 a\n b\ntag x\n\nm\n-----BEGIN SSH SIGNATURE-----\n";
        let found = split(SignedKind::Tag, object, ObjectFormat::Sha1).unwrap();
        assert_eq!(found.payload, b"object 1\ntag x\n\nm\n");
    }

    #[test]
    fn reads_times_that_git_reads() {
        for (identity, time) in [
            ("A <a@b> 12 +0000", Some(12)),
            ("A <a> b> 12 +0000", Some(12)),
            ("<> 0 +0000", Some(0)),
            ("A <a@b>", None),
            ("A <a@b> x", None),
            ("A a@b 12 +0000", None),
        ] {
            assert_eq!(time_of(identity.as_bytes()), time, "{identity}");
        }
    }
}
