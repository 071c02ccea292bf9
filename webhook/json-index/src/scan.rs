//! Text -> index, in one pass.
//!
//! Only the structure is judged here. What is seldom and intricate, numbers and escapes, is left to
//! `serde_json`; the text is known to be UTF-8.

use super::bytes::{SPACE, quote_or_escape};
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
    // Offsets are half as large as the machine's: the index is what costs memory.
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError::TooMany);
    }
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        most: most_values(text.len()),
        // Mostly there is none but the line's end. Not `any`, which looks at one byte after the other.
        controls: text.trim_end().bytes().fold(SPACE, u8::min) < SPACE,
        nodes: Vec::with_capacity(text.len() / BYTES_A_VALUE / 2),
        open: Vec::with_capacity(MAX_DEPTH / 4),
        unescaped: Vec::new(),
    };
    scanner.document()?;
    Ok(Document { text, nodes: scanner.nodes, unescaped: scanner.unescaped })
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// How many values there may be.
    most: usize,
    /// Whether there are control characters anywhere: then each string is searched for them.
    controls: bool,
    nodes: Vec<Node>,
    /// The lists and objects that are not closed yet.
    open: Vec<Open>,
    unescaped: Vec<String>,
}

/// A list or an object that is not closed yet.
struct Open {
    node: u32,
    /// The byte that closes it.
    close: u8,
}

impl Scanner<'_> {
    /// A value, the values in it right behind its own node, and nothing after it.
    fn document(&mut self) -> Result<(), JsonError> {
        let mut key = Span::EMPTY;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let start = self.at;
                    let text = self.string()?;
                    self.push(Kind::Text(text), key, start)?;
                }
                Some(b'{') => {
                    self.enter(Kind::Object, b'}', key)?;
                    if self.peek() != Some(b'}') {
                        key = self.name()?;
                        continue;
                    }
                    self.leave();
                }
                Some(b'[') => {
                    self.enter(Kind::List, b']', key)?;
                    if self.peek() != Some(b']') {
                        key = Span::EMPTY;
                        continue;
                    }
                    self.leave();
                }
                Some(b't') => self.literal("true", Kind::Bool(true), key)?,
                Some(b'f') => self.literal("false", Kind::Bool(false), key)?,
                Some(b'n') => self.literal("null", Kind::Null, key)?,
                Some(b'-' | b'0'..=b'9') => self.number(key)?,
                _ => return Err(self.unexpected()),
            }
            // Behind a value: the end of what it is in, of what that is in, and so on, or a comma.
            loop {
                let byte = self.peek();
                let Some(Open { close, .. }) = self.open.last() else {
                    return if byte.is_none() { Ok(()) } else { Err(self.unexpected()) };
                };
                let close = *close;
                if byte == Some(close) {
                    self.leave();
                } else if byte == Some(b',') {
                    self.at += 1;
                    key = if close == b'}' { self.name()? } else { Span::EMPTY };
                    break;
                } else {
                    return Err(self.unexpected());
                }
            }
        }
    }

    /// The byte here, white space skipped.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[cold]
    fn unexpected(&self) -> JsonError {
        if self.at < self.bytes.len() { JsonError::Invalid(self.at) } else { JsonError::Incomplete }
    }

    /// Adds a value that ends here.
    fn push(&mut self, kind: Kind, key: Span, start: usize) -> Result<(), JsonError> {
        if self.nodes.len() >= self.most {
            return Err(JsonError::TooMany);
        }
        let behind = short(self.nodes.len() + 1);
        self.nodes.push(Node { kind, key, start: short(start), end: short(self.at), behind });
        Ok(())
    }

    fn literal(&mut self, word: &str, kind: Kind, key: Span) -> Result<(), JsonError> {
        let start = self.at;
        if !self.bytes[start..].starts_with(word.as_bytes()) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        self.push(kind, key, start)
    }

    fn number(&mut self, key: Span) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        serde_json::from_str::<serde_json::Number>(&self.text[start..self.at])
            .map_err(|_| JsonError::Invalid(start))?;
        self.push(Kind::Number, key, start)
    }

    /// Opens a list or an object.
    fn enter(&mut self, kind: Kind, close: u8, key: Span) -> Result<(), JsonError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(JsonError::TooDeep(self.at));
        }
        self.open.push(Open { node: short(self.nodes.len()), close });
        self.push(kind, key, self.at)?;
        self.at += 1;
        Ok(())
    }

    /// Closes the innermost list or object, whose last byte is here.
    fn leave(&mut self) {
        self.at += 1;
        let behind = short(self.nodes.len());
        if let Some(node) = self.open.pop().and_then(|open| self.nodes.get_mut(open.node as usize)) {
            (node.end, node.behind) = (short(self.at), behind);
        }
    }

    /// A member's name, up to behind the colon.
    fn name(&mut self) -> Result<Span, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(name)
    }

    /// A text from its opening quote to behind its closing one.
    fn string(&mut self) -> Result<Span, JsonError> {
        let start = self.at + 1;
        let end = quote_or_escape(self.bytes, start).ok_or(JsonError::Incomplete)?;
        if self.bytes[end] != b'"' || self.controls {
            return self.intricate(start);
        }
        self.at = end + 1;
        Ok(Span { start: short(start), end: short(end) })
    }

    /// A text with escapes, or with control characters, which may not be there.
    #[cold]
    fn intricate(&mut self, start: usize) -> Result<Span, JsonError> {
        let mut end = start;
        loop {
            end = quote_or_escape(self.bytes, end).ok_or(JsonError::Incomplete)?;
            if self.bytes[end] == b'"' {
                break;
            }
            // What is escaped can't be the closing quote; whether it may be is asked below.
            end += 2;
            if end >= self.bytes.len() {
                return Err(JsonError::Incomplete);
            }
        }
        self.at = end + 1;
        let inner = &self.bytes[start..end];
        if let Some(control) = inner.iter().position(|byte| *byte < SPACE) {
            return Err(JsonError::Invalid(start + control));
        }
        if !inner.contains(&b'\\') {
            return Ok(Span { start: short(start), end: short(end) });
        }
        let opening = start - 1;
        let quoted = self.text.get(opening..=end).ok_or(JsonError::Invalid(opening))?;
        self.unescaped.push(serde_json::from_str(quoted).map_err(|_| JsonError::Invalid(opening))?);
        Ok(Span::unescaped(short(self.unescaped.len() - 1)))
    }
}

/// Of an offset or a count in a text whose length has been seen to be as short.
#[expect(clippy::cast_possible_truncation, reason = "nothing here is larger than the text's length")]
fn short(at: usize) -> u32 {
    at as u32
}
