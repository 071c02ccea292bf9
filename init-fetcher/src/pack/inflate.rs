//! Inflates one entry's data, in pieces of bounded size.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};

use super::PackError;

/// Maximum bytes of a piece; most files fit into one and are written with one call.
const PIECE: usize = 64 << 10;

/// An inflater with its buffers, used for one entry after the other.
pub struct Inflater {
    state: Decompress,
    piece: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(true), piece: vec![0; PIECE] }
    }
}

impl Inflater {
    /// Inflates one stream, which must have `size` bytes, and consumes nothing beyond its end. All pieces but
    /// the last are full.
    pub fn run(
        &mut self,
        input: &mut impl BufRead,
        size: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        self.state.reset(true);
        let mut filled = 0;
        let mut left = size;
        loop {
            let bytes = input.fill_buf().map_err(|error| unreadable(&error))?;
            let last = bytes.is_empty();
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(bytes, &mut self.piece[filled..], FlushDecompress::None)
                .map_err(|_| PackError::Corrupt("its compressed data are broken".into()))?;
            let consumed = usize::try_from(self.state.total_in() - before_in).unwrap_or(bytes.len());
            let made = self.state.total_out() - before_out;
            input.consume(consumed);
            left = left.checked_sub(made).ok_or_else(|| wrong_size(size))?;
            filled += usize::try_from(made).unwrap_or_default();
            let ended = status == Status::StreamEnd;
            if filled == self.piece.len() || (ended && filled > 0) {
                take(&self.piece[..filled])?;
                filled = 0;
            }
            if ended {
                return if left == 0 { Ok(()) } else { Err(wrong_size(size)) };
            }
            if consumed == 0 && made == 0 && last {
                return Err(PackError::Truncated);
            }
        }
    }
}

fn wrong_size(size: u64) -> PackError {
    PackError::Corrupt(format!("an object of {size} bytes has another size when inflated"))
}

/// Returns the error for a pack that cannot be read from disk.
pub fn unreadable(error: &io::Error) -> PackError {
    PackError::Corrupt(format!("it cannot be read back: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(mut input: &[u8], size: u64) -> Result<(Vec<u8>, Vec<u8>), PackError> {
        let mut out = Vec::new();
        Inflater::default().run(&mut input, size, &mut |piece| {
            out.extend(piece);
            Ok(())
        })?;
        Ok((out, input.to_vec()))
    }

    #[test]
    fn takes_nothing_beyond_the_end() {
        for size in [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let data: Vec<u8> = (0..size).map(|n| u8::try_from(n * n % 251).unwrap()).collect();
            let bytes = [deflated(&data), b"rest".to_vec()].concat();
            assert_eq!(inflate(&bytes, size as u64).unwrap(), (data, b"rest".to_vec()), "{size}");
        }
    }

    #[test]
    fn rejects_any_other_size() {
        let bytes = deflated(&[7; 1000]);
        for size in [0, 999, 1001, u64::MAX] {
            assert!(matches!(inflate(&bytes, size), Err(PackError::Corrupt(_))), "{size}");
        }
    }

    #[test]
    fn rejects_truncated_or_malformed_zlib() {
        let bytes = deflated(&[7; 1000]);
        for cut in 0..bytes.len() {
            assert!(inflate(&bytes[..cut], 1000).is_err(), "cut at {cut}");
        }
        assert!(inflate(b"<html></html>", 13).is_err());
    }
}
