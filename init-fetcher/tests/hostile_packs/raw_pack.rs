//! Packs written byte by byte: git would neither write nor send most of what is needed here.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};

/// A pack while it is written.
pub struct RawPack {
    bytes: Vec<u8>,
    count: u32,
}

impl RawPack {
    pub fn new() -> Self {
        Self { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), count: 0 }
    }

    /// A whole object.
    pub fn object(&mut self, kind: ObjectType, content: &[u8]) -> Oid {
        self.entry(kind as u8, content.len() as u64, &[], &deflated(content));
        Oid::hash_object(kind, content).unwrap()
    }

    pub fn blob(&mut self, content: &[u8]) -> Oid {
        self.object(ObjectType::Blob, content)
    }

    /// A tree with these entries, in this order: mode, name, object.
    pub fn tree(&mut self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let raw = |(mode, name, oid): &(&str, &[u8], Oid)| {
            [mode.as_bytes(), b" ", name, b"\0", oid.as_bytes()].concat()
        };
        self.object(ObjectType::Tree, &entries.iter().flat_map(raw).collect::<Vec<u8>>())
    }

    pub fn commit(&mut self, tree: Oid) -> Oid {
        let text = format!("tree {tree}\nauthor A <a@b> 1 +0000\ncommitter C <c@d> 1 +0000\n\nx\n");
        self.object(ObjectType::Commit, text.as_bytes())
    }

    /// A difference to the object that starts at `base`; gives where this one starts.
    pub fn delta(&mut self, base: usize, delta: &[u8]) -> usize {
        let mut distance = self.bytes.len() - base;
        let mut before = vec![u8::try_from(distance & 0x7f).unwrap()];
        while distance > 0x7f {
            distance = (distance >> 7) - 1;
            before.push(u8::try_from(distance & 0x7f).unwrap() | 0x80);
        }
        before.reverse();
        self.entry(6, delta.len() as u64, &before, &deflated(delta))
    }

    /// An entry that claims whatever it likes; gives where it starts.
    pub fn entry(&mut self, kind: u8, mut size: u64, base: &[u8], data: &[u8]) -> usize {
        let start = self.bytes.len();
        let mut byte = u8::try_from(size & 15).unwrap() | kind << 4;
        size >>= 4;
        while size > 0 {
            self.bytes.push(byte | 0x80);
            byte = u8::try_from(size & 0x7f).unwrap();
            size >>= 7;
        }
        self.bytes.push(byte);
        self.bytes.extend(base);
        self.bytes.extend(data);
        self.count += 1;
        start
    }

    /// Offset of the next entry.
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The pack, with its number of objects and its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        let checksum: [u8; 20] = Sha1::digest(&self.bytes).into();
        self.bytes.extend(checksum);
        self.bytes
    }
}

/// As zlib writes it.
pub fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn delta(base: u64, result: u64, instructions: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut size in [base, result] {
        while size > 0x7f {
            bytes.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
            size >>= 7;
        }
        bytes.push(u8::try_from(size).unwrap());
    }
    [bytes, instructions.to_vec()].concat()
}
