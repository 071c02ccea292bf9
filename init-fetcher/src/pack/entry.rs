//! Header of a pack entry: kind and size. Pure.

use git2::{ObjectFormat, Oid};

use super::PackError;
use crate::oid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Commit,
    Tree,
    /// Content of a file or target of a symlink.
    Blob,
    Tag,
}

impl ObjectKind {
    /// The name that is hashed before the content.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// An entry's header; the last field is the inflated size of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryHeader {
    Object(ObjectKind, u64),
    /// A delta whose base starts this many bytes before it.
    OffsetDelta(u64, u64),
    /// A delta whose base has this id.
    IdDelta(Oid, u64),
}

/// Reads a header; `next` returns one byte at a time.
pub fn read(
    format: ObjectFormat,
    next: &mut dyn FnMut() -> Result<u8, PackError>,
) -> Result<EntryHeader, PackError> {
    let mut byte = next()?;
    let kind = (byte >> 4) & 7;
    let mut size = u64::from(byte & 15);
    let mut shift = 4;
    while byte & 0x80 != 0 {
        byte = next()?;
        size |= shifted(byte, shift)?;
        shift += 7;
    }
    Ok(match kind {
        1 => EntryHeader::Object(ObjectKind::Commit, size),
        2 => EntryHeader::Object(ObjectKind::Tree, size),
        3 => EntryHeader::Object(ObjectKind::Blob, size),
        4 => EntryHeader::Object(ObjectKind::Tag, size),
        6 => EntryHeader::OffsetDelta(distance(next)?, size),
        7 => {
            let mut id = vec![0; oid::size(format)];
            for byte in &mut id {
                *byte = next()?;
            }
            EntryHeader::IdDelta(Oid::from_bytes(&id).map_err(|_| corrupt("an id"))?, size)
        }
        _ => return Err(corrupt("an entry's kind")),
    })
}

/// Shifts the lower seven bits of a byte to their place in a number.
pub fn shifted(byte: u8, shift: u32) -> Result<u64, PackError> {
    let bits = u64::from(byte & 0x7f);
    if shift > 63 || (bits << shift) >> shift != bits {
        return Err(corrupt("a number that is too large"));
    }
    Ok(bits << shift)
}

fn distance(next: &mut dyn FnMut() -> Result<u8, PackError>) -> Result<u64, PackError> {
    let mut byte = next()?;
    let mut distance = u64::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = next()?;
        let more = distance.checked_add(1).filter(|distance| distance >> 57 == 0);
        distance = more.ok_or_else(|| corrupt("a distance"))? << 7 | u64::from(byte & 0x7f);
    }
    Ok(distance)
}

/// Returns the error for a contradiction in a pack.
pub fn corrupt(what: &str) -> PackError {
    PackError::Corrupt(format!("{what} in it makes no sense"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Option<EntryHeader> {
        let mut bytes = bytes.iter();
        read(ObjectFormat::Sha1, &mut || bytes.next().copied().ok_or(PackError::Truncated)).ok()
    }

    #[test]
    fn reads_kinds_and_sizes() {
        assert_eq!(of(&[0x15]), Some(EntryHeader::Object(ObjectKind::Commit, 5)));
        assert_eq!(of(&[0xb5, 0x02]), Some(EntryHeader::Object(ObjectKind::Blob, 37)));
        assert_eq!(of(&[0x61, 0x7f]), Some(EntryHeader::OffsetDelta(127, 1)));
        assert_eq!(of(&[0x61, 0x80, 0x00]), Some(EntryHeader::OffsetDelta(128, 1)));
        let id = Oid::from_bytes(&[7; 20]).unwrap();
        assert_eq!(of(&[&[0x71][..], &[7; 20]].concat()), Some(EntryHeader::IdDelta(id, 1)));
    }

    #[test]
    fn rejects_invalid_responses() {
        for bytes in [&[0x05][..], &[0x55], &[], &[0x95], &[0x61], &[0x71, 1]] {
            assert_eq!(of(bytes), None, "{bytes:?}");
        }
        assert_eq!(of(&[[0xff; 12].as_slice(), &[0]].concat()), None);
        assert_eq!(of(&[[0xe1].as_slice(), &[0xff; 12], &[0]].concat()), None);
    }
}
