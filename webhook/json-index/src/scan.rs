//! Text -> index, in one pass.
//!
//! Only the structure is judged here. What is seldom and intricate, numbers and escapes, is left to
//! `serde_json`; the text is known to be UTF-8.

use super::{Document, JsonError, Kind, Node, Span};

/// Lists and objects in one another; `serde_json` stops there too.
pub const MAX_DEPTH: usize = 128;

/// Bytes of a text for a value, at the least, but for the first thousand: reviews have some 15. What
/// has fewer would make an index that is many times as large as the text.
const BYTES_A_VALUE: usize = 6;

/// Values that any text may have.
const FEW: usize = 1024;

/// How many values a text of this length may have.
pub const fn most_values(length: usize) -> usize {
    FEW + length / BYTES_A_VALUE
}

/// Reads a text.
pub fn scan(text: &str) -> Result<Document<'_>, JsonError> {
    let room = text.len() / BYTES_A_VALUE / 2;
    let mut scanner =
        Scanner { text, at: 0, depth: 0, nodes: Vec::with_capacity(room), unescaped: Vec::new() };
    scanner.value(Span::Verbatim(0, 0))?;
    scanner.skip_space();
    if scanner.at != text.len() {
        return Err(scanner.unexpected());
    }
    Ok(Document { text, nodes: scanner.nodes, unescaped: scanner.unescaped })
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    nodes: Vec<Node>,
    unescaped: Vec<String>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> JsonError {
        if self.at < self.text.len() { JsonError::Invalid(self.at) } else { JsonError::Incomplete }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Goes on behind this byte.
    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, key: Span) -> Result<(), JsonError> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                let span = self.string()?;
                self.push(Kind::Text(span), key, start)
            }
            Some(b'{') => self.object(key),
            Some(b'[') => self.list(key),
            Some(b't') => self.literal("true", Kind::Bool(true), key),
            Some(b'f') => self.literal("false", Kind::Bool(false), key),
            Some(b'n') => self.literal("null", Kind::Null, key),
            Some(b'-' | b'0'..=b'9') => self.number(key),
            _ => Err(self.unexpected()),
        }
    }

    /// Adds a value that ends here.
    fn push(&mut self, kind: Kind, key: Span, start: usize) -> Result<(), JsonError> {
        if self.nodes.len() >= most_values(self.text.len()) {
            return Err(JsonError::TooMany);
        }
        let (start, end) = (offset(start)?, offset(self.at)?);
        self.nodes.push(Node { kind, key, start, end, behind: 0 });
        Ok(())
    }

    fn literal(&mut self, word: &str, kind: Kind, key: Span) -> Result<(), JsonError> {
        let start = self.at;
        if !self.text.as_bytes()[start..].starts_with(word.as_bytes()) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        self.push(kind, key, start)
    }

    fn number(&mut self, key: Span) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        serde_json::from_str::<serde_json::Number>(&self.text[start..self.at])
            .map_err(|_| JsonError::Invalid(start))?;
        self.push(Kind::Number, key, start)
    }

    fn list(&mut self, key: Span) -> Result<(), JsonError> {
        self.nested(Kind::List, key, b']', |scanner| scanner.value(Span::Verbatim(0, 0)))
    }

    fn object(&mut self, key: Span) -> Result<(), JsonError> {
        self.nested(Kind::Object, key, b'}', |scanner| {
            scanner.skip_space();
            if scanner.peek() != Some(b'"') {
                return Err(scanner.unexpected());
            }
            let name = scanner.string()?;
            scanner.skip_space();
            scanner.expect(b':')?;
            scanner.value(name)
        })
    }

    /// A list or an object: the values in it come right behind its own node.
    fn nested(
        &mut self,
        kind: Kind,
        key: Span,
        close: u8,
        mut one: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let (start, node) = (self.at, self.nodes.len());
        if self.depth >= MAX_DEPTH {
            return Err(JsonError::TooDeep(start));
        }
        self.depth += 1;
        self.push(kind, key, start)?;
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
        } else {
            loop {
                one(self)?;
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(byte) if byte == close => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.unexpected()),
                }
            }
        }
        self.depth -= 1;
        let (end, behind) = (offset(self.at)?, offset(self.nodes.len())?);
        let node = &mut self.nodes[node];
        (node.end, node.behind) = (end, behind);
        Ok(())
    }

    /// A text from its opening quote to behind its closing one.
    fn string(&mut self) -> Result<Span, JsonError> {
        let opening = self.at;
        self.at += 1;
        let mut escapes = false;
        loop {
            self.at += plain(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    // What is escaped can't be the closing quote; whether it may be is asked below.
                    self.at += 2;
                    escapes = true;
                    if self.at >= self.text.len() {
                        return Err(JsonError::Incomplete);
                    }
                }
                _ => return Err(self.unexpected()),
            }
        }
        self.at += 1;
        if !escapes {
            return Ok(Span::Verbatim(offset(opening + 1)?, offset(self.at - 1)?));
        }
        let quoted = self.text.get(opening..self.at).ok_or(JsonError::Invalid(opening))?;
        let text = serde_json::from_str(quoted).map_err(|_| JsonError::Invalid(opening))?;
        self.unescaped.push(text);
        Ok(Span::Unescaped(offset(self.unescaped.len() - 1)?))
    }
}

/// How many bytes come before the first that is a quote, a backslash or a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // Eight bytes at once: the highest bit of each that is less than `limit`, which is at most 0x80.
    // A borrow can set it in the bytes behind one that is, never in those before.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
    let mut words = bytes.chunks_exact(8);
    let mut before = 0;
    for word in words.by_ref() {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let found = below(word, 0x20) | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1);
        if found != 0 {
            return before + found.trailing_zeros() as usize / 8;
        }
        before += 8;
    }
    let rest = words.remainder();
    before + rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(rest.len())
}

/// Offsets are half as large as the machine's: the index is what costs memory.
fn offset(at: usize) -> Result<u32, JsonError> {
    u32::try_from(at).map_err(|_| JsonError::TooMany)
}
