//! Applies a delta while it is inflated; neither the delta nor the objects are held in memory as a whole.

use super::PackError;
use super::entry::{corrupt, shifted};

type Taken = Result<(), PackError>;

/// Content of the base object of a delta.
pub trait Base {
    /// Passes `len` bytes from `offset` on to `take`, in pieces.
    fn copy(&self, offset: u64, len: u64, take: &mut dyn FnMut(&[u8]) -> Taken) -> Taken;
}

/// Returns the sizes at the start of a delta: of the base, of the result, and of this header itself.
pub fn sizes(delta: &[u8]) -> Result<(u64, u64, usize), PackError> {
    let mut bytes = delta.iter();
    let mut number = || {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = *bytes.next().ok_or_else(|| corrupt("the head of a delta"))?;
            value |= shifted(byte, shift)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok::<u64, PackError>(value)
    };
    let (base, result) = (number()?, number()?);
    Ok((base, result, delta.len() - bytes.len()))
}

/// State of a delta that is being applied.
pub struct Applier<'a> {
    base: &'a dyn Base,
    base_size: u64,
    state: State,
}

enum State {
    /// Before the sizes, which are all in the first piece.
    Head,
    /// At the start of an instruction.
    Start,
    /// Within a copy instruction: the bits whose bytes are still to be read, lowest first.
    Copy { bits: u8, next: u32, value: u64 },
    /// Within an insert instruction: the number of bytes that are left.
    Insert(usize),
}

impl<'a> Applier<'a> {
    pub fn new(base: &'a dyn Base, base_size: u64) -> Self {
        Self { base, base_size, state: State::Head }
    }

    /// Reads the next piece of the delta and passes the resulting bytes to `take`.
    pub fn feed(&mut self, mut piece: &[u8], take: &mut dyn FnMut(&[u8]) -> Taken) -> Taken {
        while !piece.is_empty() {
            match self.state {
                State::Head => {
                    let (base_size, _, length) = sizes(piece)?;
                    if base_size != self.base_size {
                        return Err(corrupt("the size of a delta's base"));
                    }
                    piece = &piece[length..];
                    self.state = State::Start;
                }
                State::Start => {
                    let op = piece[0];
                    piece = &piece[1..];
                    self.state = match op {
                        0 => return Err(corrupt("an instruction of a delta")),
                        1..=0x7f => State::Insert(op.into()),
                        _ => State::Copy { bits: op & 0x7f, next: 0, value: 0 },
                    };
                    self.copy_if_known(take)?;
                }
                State::Copy { bits, next, value } => {
                    let next = next + (bits >> next).trailing_zeros();
                    let value = value | u64::from(piece[0]) << (8 * next);
                    piece = &piece[1..];
                    self.state = State::Copy { bits: bits & !(1 << next), next, value };
                    self.copy_if_known(take)?;
                }
                State::Insert(left) => {
                    let (now, rest) = piece.split_at(left.min(piece.len()));
                    take(now)?;
                    piece = rest;
                    self.state =
                        if now.len() == left { State::Start } else { State::Insert(left - now.len()) };
                }
            }
        }
        Ok(())
    }

    /// Copies once offset (four bytes) and length (three bytes) are known; bytes that are zero are not sent.
    fn copy_if_known(&mut self, take: &mut dyn FnMut(&[u8]) -> Taken) -> Taken {
        const DEFAULT: u64 = 0x10000;
        let State::Copy { bits: 0, value, .. } = self.state else { return Ok(()) };
        let (offset, len) = (value & 0xffff_ffff, value >> 32);
        let len = if len == 0 { DEFAULT } else { len };
        if offset + len > self.base_size {
            return Err(corrupt("a copy of a delta"));
        }
        self.state = State::Start;
        self.base.copy(offset, len, take)
    }

    /// Checks that the delta ended after a complete instruction.
    pub fn finish(self) -> Taken {
        if matches!(self.state, State::Start) { Ok(()) } else { Err(corrupt("the end of a delta")) }
    }
}

impl Base for [u8] {
    fn copy(&self, offset: u64, len: u64, take: &mut dyn FnMut(&[u8]) -> Taken) -> Taken {
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok());
        let bytes = range.and_then(|(start, end)| self.get(start..end));
        take(bytes.ok_or_else(|| corrupt("a copy of a delta"))?)
    }
}

impl Base for Vec<u8> {
    fn copy(&self, offset: u64, len: u64, take: &mut dyn FnMut(&[u8]) -> Taken) -> Taken {
        self.as_slice().copy(offset, len, take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(base: &[u8], delta: &[u8], piece: usize) -> Result<Vec<u8>, PackError> {
        let mut out = Vec::new();
        let base = base.to_vec();
        let mut applier = Applier::new(&base, base.len() as u64);
        // The head comes in one piece, as it does from the inflater.
        let head = sizes(delta)?.2;
        let mut take = |bytes: &[u8]| {
            out.extend(bytes);
            Ok(())
        };
        applier.feed(&delta[..head], &mut take)?;
        for piece in delta[head..].chunks(piece) {
            applier.feed(piece, &mut take)?;
        }
        applier.finish()?;
        Ok(out)
    }

    #[test]
    fn applies_deltas_in_chunks_of_any_size() {
        let base = b"0123456789";
        // Copy 3 from 2; insert "ab"; copy 1 from 0 with no offset byte.
        let delta = [10, 6, 0b1001_0001, 2, 3, 2, b'a', b'b', 0b1001_0000, 1];
        for piece in 1..delta.len() {
            assert_eq!(apply(base, &delta, piece).unwrap(), b"234ab0", "{piece}");
        }
    }

    #[test]
    fn a_copy_without_a_length_is_64_kib() {
        let base = vec![7; 0x10000];
        let delta = [0x80, 0x80, 0x04, 0x80, 0x80, 0x04, 0x80];
        assert_eq!(apply(&base, &delta, 1).unwrap(), base);
    }

    #[test]
    fn rejects_inconsistent_flags() {
        for delta in [
            &[10, 1, 0][..],             // reserved
            &[9, 1, 1, b'x'],            // another base
            &[10, 9, 0b1001_0001, 2, 9], // beyond the base
            &[10, 4, 4, b'a'],           // ends within an insert
            &[10, 1, 0b1001_0001, 2],    // ends within a copy
            &[10, 1, 0b1000_1000, 1],    // far beyond the base
        ] {
            assert!(apply(b"0123456789", delta, 1).is_err(), "{delta:?}");
        }
        assert!(sizes(&[]).is_err() && sizes(&[0x80]).is_err() && sizes(&[0xff; 12]).is_err());
    }
}
