//! Values -> text, as they come, into one buffer.
//!
//! Not through serde, whose code is made anew in each crate that writes something of its own, there
//! with that crate's settings; and whose writer looks at texts byte by byte. Texts that have to be
//! escaped are left to `serde_json`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::bytes::is_escaped;

/// What can be written as JSON.
pub trait ToJson {
    /// Writes it behind what is there.
    fn to_json(&self, out: &mut Vec<u8>);
}

/// Members of an object that is being written.
#[derive(Debug)]
pub struct Members<'o> {
    out: &'o mut Vec<u8>,
    /// Whether there is none yet.
    empty: bool,
}

impl Members<'_> {
    /// Writes a member behind those that are there. The name is one that JSON writes as it is.
    pub fn add(&mut self, name: &'static str, value: &(impl ToJson + ?Sized)) {
        self.name(name);
        value.to_json(self.out);
    }

    /// Writes a member that is an object itself.
    pub fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Members<'_>)) {
        self.name(name);
        object(self.out, members);
    }

    #[inline(never)]
    fn name(&mut self, name: &'static str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        quoted(name, self.out);
        self.out.push(b':');
    }
}

/// A value's text.
pub fn to_json(value: &(impl ToJson + ?Sized)) -> String {
    let mut out = Vec::new();
    value.to_json(&mut out);
    // What is written is made of texts.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes an object.
pub fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Members<'_>)) {
    out.push(b'{');
    members(&mut Members { out, empty: true });
    out.push(b'}');
}

/// Between quotes, as it stands.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

impl ToJson for str {
    #[inline(never)]
    fn to_json(&self, out: &mut Vec<u8>) {
        if is_escaped(self.as_bytes()) {
            // Writing to memory does not fail.
            drop(serde_json::to_writer(out, self));
        } else {
            quoted(self, out);
        }
    }
}

/// The two letters of each twelve bits. The library's way, six bits at a time, takes twice as long,
/// which is a twentieth of a review.
static PAIRS: [[u8; 2]; 1 << 12] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut pairs = [[0; 2]; 1 << 12];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [letters[bits >> 6], letters[bits & 0x3f]];
        bits += 1;
    }
    pairs
};

/// Bytes that are written as a text in base64.
#[derive(Debug, Clone, Copy)]
pub struct Base64<'b>(pub &'b [u8]);

impl ToJson for Base64<'_> {
    #[inline(never)]
    fn to_json(&self, out: &mut Vec<u8>) {
        let (threes, rest) = self.0.as_chunks();
        out.push(b'"');
        let start = out.len();
        out.resize(start + threes.len() * 4, 0);
        for ([first, second, third], four) in threes.iter().zip(out[start..].as_chunks_mut().0) {
            let bits = u32::from_be_bytes([0, *first, *second, *third]);
            let [a, b] = PAIRS[(bits >> 12) as usize];
            let [c, d] = PAIRS[(bits & 0xfff) as usize];
            *four = [a, b, c, d];
        }
        out.extend_from_slice(STANDARD.encode(rest).as_bytes());
        out.push(b'"');
    }
}

impl ToJson for bool {
    fn to_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl ToJson for i64 {
    fn to_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
}

impl ToJson for Value {
    fn to_json(&self, out: &mut Vec<u8>) {
        // What is a value already always serialises.
        drop(serde_json::to_writer(out, self));
    }
}

impl<T: ToJson> ToJson for [T] {
    fn to_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            item.to_json(out);
        }
        out.push(b']');
    }
}

impl ToJson for String {
    fn to_json(&self, out: &mut Vec<u8>) {
        (**self).to_json(out);
    }
}

impl ToJson for Cow<'_, str> {
    fn to_json(&self, out: &mut Vec<u8>) {
        (**self).to_json(out);
    }
}

impl<T: ToJson + ?Sized> ToJson for &T {
    fn to_json(&self, out: &mut Vec<u8>) {
        (**self).to_json(out);
    }
}
