//! Bytes that mean something in a JSON text, looked for eight at a time: most texts are so short that
//! they are through before a call of a library would have begun.

use memchr::memchr2;

/// The first byte that is no control character; a text must not hold those below.
pub const SPACE: u8 = b' ';

/// Times eight bytes that a short text has.
const SHORT: usize = 3;

const ONES: u64 = all(0x01);
const HIGH: u64 = all(0x80);

const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte that is below a limit of at most 0x80. A borrow can set it in bytes
/// behind one that is, never in those before the first.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & HIGH
}

/// The same of each byte that is this one.
const fn is(word: u64, byte: u8) -> u64 {
    below(word ^ all(byte), 1)
}

/// Where the next quote or backslash is.
pub fn quote_or_escape(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let (words, _) = rest.as_chunks();
    for (at, word) in words.iter().take(SHORT).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = is(word, b'"') | is(word, b'\\');
        if found != 0 {
            return Some(from + 8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    // The short texts at the end of the whole one are looked through once more.
    memchr2(b'"', b'\\', rest).map(|found| from + found)
}

/// Whether a text holds anything that is written in another way in JSON.
pub fn is_escaped(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        below(word, SPACE) | is(word, b'"') | is(word, b'\\')
    };
    words.iter().any(|word| special(word) != 0)
        || rest.iter().any(|&byte| byte < SPACE || byte == b'"' || byte == b'\\')
}
