//! Packs described by bytes: a fuzzer can change what is in them without having to guess checksums.
//!
//! Each entry is `KIND BASE LENGTH LENGTH`, then as many bytes of content. For a delta these are its
//! instructions, before which its sizes are put as they ought to be, unless its kind has the bit [`RAW`].

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};
use std::io::Write as _;

/// Bit of KIND: a delta whose sizes are in its content.
const RAW: u8 = 8;
/// Entries at most.
const MAX: usize = 64;
/// Maximum size of all objects of a pack in bytes: for the fuzzer more than its own limit, so that some packs exceed it;
/// unit tests need objects that do not fit into memory together.
const LARGEST: usize = if cfg!(fuzzing) { 3 << 19 } else { 256 << 20 };

/// A pack, described.
pub struct Described {
    /// In their order.
    pub entries: Vec<Entry>,
}

pub struct Entry {
    pub what: What,
    /// What is in it.
    pub content: Vec<u8>,
    /// Whether a delta's sizes are in its content.
    pub raw: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    Whole(ObjectType),
    /// To the entry that is so many before this one.
    Before(usize),
    /// To the object of the entry at this position, wherever that is.
    Named(usize),
}

/// Reads a description.
pub fn read(mut bytes: &[u8]) -> Described {
    let mut entries = Vec::new();
    while let [kind, base, low, high, rest @ ..] = bytes
        && entries.len() < MAX
    {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        let base = usize::from(*base);
        let what = match kind & 7 {
            0 | 1 => What::Whole(ObjectType::Blob),
            2 => What::Whole(ObjectType::Tree),
            3 => What::Whole(ObjectType::Commit),
            4 => What::Whole(ObjectType::Tag),
            5 | 6 => What::Before(1 + base % entries.len().max(1)),
            _ => What::Named(base),
        };
        entries.push(Entry { what, content: content.to_vec(), raw: kind & RAW != 0 });
        bytes = after;
    }
    let count = entries.len();
    for entry in &mut entries {
        if let What::Named(base) = &mut entry.what {
            *base %= count;
        }
    }
    Described { entries }
}

type Object = (ObjectType, Vec<u8>);

impl Described {
    /// Returns the ids of all objects, `None` if one of them cannot be made.
    pub fn objects(&self) -> Option<Vec<Oid>> {
        let made = self.make();
        made.into_iter().map(|made| made.map(|object| id(&object))).collect()
    }

    /// All that can be made, the simple way.
    fn make(&self) -> Vec<Option<Object>> {
        let mut made: Vec<Option<Object>> = vec![None; self.entries.len()];
        let mut total = 0;
        loop {
            let mut more = false;
            for (at, entry) in
                self.entries.iter().enumerate().filter(|(at, _)| made[*at].is_none()).collect::<Vec<_>>()
            {
                let object = match entry.what {
                    What::Whole(kind) => Some((kind, entry.content.clone())),
                    What::Before(_) | What::Named(_) => made_base(entry, at, &made)
                        .and_then(|(kind, base)| Some((*kind, apply(base, &entry.delta(base))?))),
                };
                total += object.as_ref().map_or(0, |(_, data)| data.len());
                if total > LARGEST {
                    return made;
                }
                more |= object.is_some();
                made[at] = object;
            }
            if !more {
                return made;
            }
        }
    }

    pub fn pack(&self) -> Vec<u8> {
        let made = self.make();
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(u32::try_from(self.entries.len()).unwrap().to_be_bytes());
        let mut offsets = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let offset = pack.len();
            let base = made_base(entry, at, &made);
            let data = match (entry.what, base) {
                (What::Whole(_), _) | (_, None) => entry.content.clone(),
                (_, Some((_, base))) => entry.delta(base),
            };
            match entry.what {
                What::Whole(kind) => head(&mut pack, kind as u8, data.len()),
                What::Before(back) => {
                    head(&mut pack, 6, data.len());
                    let base = at.checked_sub(back).map_or(0, |at| offsets[at]);
                    distance(&mut pack, offset - base);
                }
                What::Named(_) => {
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

fn made_base<'a>(entry: &Entry, at: usize, made: &'a [Option<Object>]) -> Option<&'a Object> {
    match entry.what {
        What::Whole(_) => None,
        What::Before(back) => made[at.checked_sub(back)?].as_ref(),
        What::Named(base) => made[base].as_ref(),
    }
}

impl Entry {
    fn delta(&self, base: &[u8]) -> Vec<u8> {
        if self.raw {
            return self.content.clone();
        }
        let mut delta = Vec::new();
        number(&mut delta, base.len());
        number(&mut delta, instructions(base, &self.content).map_or(0, |made| made.len()));
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
    let (base_size, made_size) = (size()?, size()?);
    let made = instructions(base, &delta[at..])?;
    (base_size == base.len() && made_size == made.len()).then_some(made)
}

fn instructions(base: &[u8], mut delta: &[u8]) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    while let Some((&op, rest)) = delta.split_first() {
        delta = rest;
        if op & 0x80 == 0 {
            let (insert, rest) = delta.split_at_checked(op.into()).filter(|_| op > 0)?;
            made.extend(insert);
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
            made.extend(base.get(offset..offset + length)?);
        }
        if made.len() > LARGEST {
            return None;
        }
    }
    Some(made)
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
