//! Packs generated from fuzzer input, so that a fuzzer can change their content without having to guess checksums.
//!
//! Each entry is `KIND BASE LENGTH LENGTH`, then as many bytes of content. For a delta these are its
//! instructions, before which correct sizes are put, unless KIND has the bit [`RAW`].

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};
use std::io::Write as _;

/// Bit of KIND: a delta whose sizes are in its content.
const RAW: u8 = 8;
/// Maximum number of entries.
const MAX: usize = 64;
/// Maximum size of all objects of a pack in bytes: for the fuzzer more than its own limit, so that some packs exceed it;
/// unit tests need objects that do not fit into memory together.
const LARGEST: usize = if cfg!(fuzzing) { 3 << 19 } else { 256 << 20 };

/// The entries of a pack, decoded from fuzzer input.
pub struct GeneratedPack {
    pub entries: Vec<Entry>,
}

pub struct Entry {
    pub kind: EntryKind,
    /// An object, or the instructions of a delta.
    pub content: Vec<u8>,
    /// True if a delta's sizes are in its content.
    pub raw: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Whole(ObjectType),
    /// To the entry that is so many before this one.
    Before(usize),
    /// To the object of the entry at this position, wherever that is.
    Named(usize),
}

/// Decodes fuzzer input.
pub fn read(mut bytes: &[u8]) -> GeneratedPack {
    let mut entries = Vec::new();
    while let [head, base, low, high, rest @ ..] = bytes
        && entries.len() < MAX
    {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        let base = usize::from(*base);
        let kind = match head & 7 {
            0 | 1 => EntryKind::Whole(ObjectType::Blob),
            2 => EntryKind::Whole(ObjectType::Tree),
            3 => EntryKind::Whole(ObjectType::Commit),
            4 => EntryKind::Whole(ObjectType::Tag),
            5 | 6 => EntryKind::Before(1 + base % entries.len().max(1)),
            _ => EntryKind::Named(base),
        };
        entries.push(Entry { kind, content: content.to_vec(), raw: head & RAW != 0 });
        bytes = after;
    }
    let count = entries.len();
    for entry in &mut entries {
        if let EntryKind::Named(base) = &mut entry.kind {
            *base %= count;
        }
    }
    GeneratedPack { entries }
}

type Object = (ObjectType, Vec<u8>);

impl GeneratedPack {
    /// Returns the ids of all objects, `None` if one of them can't be resolved.
    pub fn objects(&self) -> Option<Vec<Oid>> {
        let objects = self.resolve();
        objects.into_iter().map(|object| object.as_ref().map(id)).collect()
    }

    /// Resolves the deltas in the simplest way; `None` for each that can't be resolved.
    fn resolve(&self) -> Vec<Option<Object>> {
        let mut objects: Vec<Option<Object>> = vec![None; self.entries.len()];
        let mut total = 0;
        loop {
            let mut more = false;
            for (at, entry) in
                self.entries.iter().enumerate().filter(|(at, _)| objects[*at].is_none()).collect::<Vec<_>>()
            {
                let object = match entry.kind {
                    EntryKind::Whole(kind) => Some((kind, entry.content.clone())),
                    EntryKind::Before(_) | EntryKind::Named(_) => base_object(entry, at, &objects)
                        .and_then(|(kind, base)| Some((*kind, apply(base, &entry.delta(base))?))),
                };
                total += object.as_ref().map_or(0, |(_, data)| data.len());
                if total > LARGEST {
                    return objects;
                }
                more |= object.is_some();
                objects[at] = object;
            }
            if !more {
                return objects;
            }
        }
    }

    pub fn pack(&self) -> Vec<u8> {
        let objects = self.resolve();
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(u32::try_from(self.entries.len()).unwrap().to_be_bytes());
        let mut offsets = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let offset = pack.len();
            let base = base_object(entry, at, &objects);
            let data = match (entry.kind, base) {
                (EntryKind::Whole(_), _) | (_, None) => entry.content.clone(),
                (_, Some((_, base))) => entry.delta(base),
            };
            match entry.kind {
                EntryKind::Whole(kind) => head(&mut pack, kind as u8, data.len()),
                EntryKind::Before(back) => {
                    head(&mut pack, 6, data.len());
                    let base = at.checked_sub(back).map_or(0, |at| offsets[at]);
                    distance(&mut pack, offset - base);
                }
                EntryKind::Named(_) => {
                    head(&mut pack, 7, data.len());
                    pack.extend(
                        base.map_or([9; 20], |object| <[u8; 20]>::try_from(id(object).as_bytes()).unwrap()),
                    );
                }
            }
            offsets.push(offset);
            let mut encoder = ZlibEncoder::new(pack, Compression::fast());
            encoder.write_all(&data).unwrap();
            pack = encoder.finish().unwrap();
        }
        with_checksum(pack)
    }
}

fn base_object<'a>(entry: &Entry, at: usize, objects: &'a [Option<Object>]) -> Option<&'a Object> {
    match entry.kind {
        EntryKind::Whole(_) => None,
        EntryKind::Before(back) => objects[at.checked_sub(back)?].as_ref(),
        EntryKind::Named(base) => objects[base].as_ref(),
    }
}

impl Entry {
    fn delta(&self, base: &[u8]) -> Vec<u8> {
        if self.raw {
            return self.content.clone();
        }
        let mut delta = Vec::new();
        number(&mut delta, base.len());
        number(&mut delta, instructions(base, &self.content).map_or(0, |result| result.len()));
        [delta, self.content.clone()].concat()
    }
}

/// Applies a delta as its documentation reads, `None` where it makes no sense.
fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    let mut size = || {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = *delta.get(at)?;
            at += 1;
            if shift > 56 {
                return None;
            }
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    let (base_size, result_size) = (size()?, size()?);
    let result = instructions(base, &delta[at..])?;
    (base_size == base.len() && result_size == result.len()).then_some(result)
}

fn instructions(base: &[u8], mut delta: &[u8]) -> Option<Vec<u8>> {
    let mut result = Vec::new();
    while let Some((&op, rest)) = delta.split_first() {
        delta = rest;
        if op & 0x80 == 0 {
            let (insert, rest) = delta.split_at_checked(op.into()).filter(|_| op > 0)?;
            result.extend(insert);
            delta = rest;
        } else {
            let mut fields = [0_usize; 2];
            for bit in 0..7 {
                if op & 1 << bit != 0 {
                    let (&byte, rest) = delta.split_first()?;
                    delta = rest;
                    fields[usize::from(bit >= 4)] |= usize::from(byte) << (8 * (bit % 4));
                }
            }
            let [offset, length] = fields;
            let length = if length == 0 { 0x10000 } else { length };
            result.extend(base.get(offset..offset + length)?);
        }
        if result.len() > LARGEST {
            return None;
        }
    }
    Some(result)
}

fn id((kind, data): &Object) -> Oid {
    Oid::hash_object(*kind, data).unwrap()
}

fn head(out: &mut Vec<u8>, kind: u8, size: usize) {
    let low = u8::try_from(size & 15).unwrap() | kind << 4;
    if size < 16 {
        return out.push(low);
    }
    out.push(low | 0x80);
    number(out, size >> 4);
}

fn number(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn distance(out: &mut Vec<u8>, mut value: usize) {
    let mut bytes = vec![u8::try_from(value & 0x7f).unwrap()];
    while value > 0x7f {
        value = (value >> 7) - 1;
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
    }
    out.extend(bytes.iter().rev());
}

/// The bytes of a pack with what it ends with.
pub fn with_checksum(mut pack: Vec<u8>) -> Vec<u8> {
    let checksum: [u8; 20] = Sha1::digest(&pack).into();
    pack.extend(checksum);
    pack
}
