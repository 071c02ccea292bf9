//! JSON as it was sent, with an index of where each of its values begins and ends; and JSON as it is to
//! be sent, written as it comes (`write`).
//!
//! ```text
//! text ──scan──> Document (text + index) ──root──> Json: a place in it, as cheap to pass on as a number
//! ```
//!
//! Nothing is built but the index: no tree, no struct, and no text is copied but for those with
//! escapes. A pod stays what the API server sent. A struct would lose the fields that it did not know;
//! and a tree of the whole review costs more than all else that admission does.
//!
//! Reads tolerate every absence: `null`, a missing member and a value of another type all read as
//! nothing, because a pod may come from a file or from an API server newer than this. Of members with
//! the same name the last one counts, as for the API server.
//!
//! A package of its own because it is compiled for speed, as the rest of the webhook is not. What is
//! worth that is never inlined, as it would be compiled like its caller then.

mod bytes;
mod scan;
mod write;

use serde_json::Value;

pub use write::{Base64, Members, ToJson, object, to_json};

/// Text that is no JSON, or none that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("no valid JSON at byte {0}")]
    Invalid(usize),
    /// The text ends within a value.
    #[error("the JSON ends early")]
    Incomplete,
    /// Lists and objects in one another.
    #[error("values are nested more than {deepest} deep at byte {0}", deepest = scan::MAX_DEPTH)]
    TooDeep(usize),
    /// So many that the index would be many times as large as the text.
    #[error("it has too many values for its length")]
    TooMany,
}

/// A text, checked to be JSON, and its index.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    /// Texts and keys that had escapes, without them.
    unescaped: Vec<String>,
}

/// A value: where it is, and where the one behind it is.
#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    /// Its name, where it is a member of an object.
    key: Span,
    /// Where it begins in the text, and where it has ended.
    start: u32,
    end: u32,
    /// The first node that is not in it.
    behind: u32,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Null,
    Bool(bool),
    Number,
    Text(Span),
    List,
    Object,
}

/// A text without its quotes: from one byte of the document to before another; or, where it had
/// escapes, one of those without them.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Of what has no name.
    const EMPTY: Self = Self { start: 0, end: 0 };

    /// An end that no text has, as texts end before it.
    const UNESCAPED: u32 = u32::MAX;

    fn unescaped(index: u32) -> Self {
        Self { start: index, end: Self::UNESCAPED }
    }
}

/// A value of a document, or nothing.
#[derive(Debug, Clone, Copy)]
pub struct Json<'d> {
    document: &'d Document<'d>,
    /// Its node; behind the last one for nothing.
    at: usize,
}

impl<'a> Document<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// Where and why it can't be read.
    #[inline(never)]
    pub fn read(text: &'a str) -> Result<Self, JsonError> {
        scan::scan(text)
    }

    /// The value that the text is.
    #[must_use]
    pub fn root(&self) -> Json<'_> {
        Json { document: self, at: 0 }
    }

    /// The value at a place that [`Json::place`] told.
    #[must_use]
    pub fn at(&self, place: usize) -> Json<'_> {
        Json { document: self, at: place }
    }

    fn span(&self, span: Span) -> &str {
        if span.end == Span::UNESCAPED {
            &self.unescaped[span.start as usize]
        } else {
            &self.text[span.start as usize..span.end as usize]
        }
    }

    /// Whether a text is this one; by its length first, as most are not.
    fn is(&self, span: Span, text: &str) -> bool {
        let verbatim = self.text.as_bytes().get(span.start as usize..span.end as usize);
        match verbatim {
            Some(verbatim) => verbatim == text.as_bytes(),
            None => self.span(span) == text,
        }
    }
}

impl<'d> Json<'d> {
    /// What [`Document::at`] finds this value by.
    #[must_use]
    pub fn place(self) -> usize {
        self.at
    }

    fn node(self) -> Option<&'d Node> {
        self.document.nodes.get(self.at)
    }

    /// The values right in it, with their names where it is an object.
    fn children(self) -> impl Iterator<Item = (Span, Self)> + Clone + use<'d> {
        let document = self.document;
        let behind = self.node().map_or(0, |node| node.behind as usize);
        let within = document.nodes.get(..behind).unwrap_or_default();
        let mut at = self.at.saturating_add(1);
        std::iter::from_fn(move || {
            let child = Self { document, at };
            let node = within.get(at)?;
            at = node.behind as usize;
            Some((node.key, child))
        })
    }

    /// The member of an object, nothing where there is none.
    #[must_use]
    #[inline(never)]
    pub fn get(self, key: &str) -> Self {
        let nothing = Self { document: self.document, at: usize::MAX };
        if !self.is_object() {
            return nothing;
        }
        let named = self.children().filter(|(name, _)| self.document.is(*name, key));
        named.last().map_or(nothing, |(_, value)| value)
    }

    /// The items of a list, none where it is not one.
    pub fn items(self) -> impl Iterator<Item = Self> + Clone + use<'d> {
        let list = self.is_array();
        self.children().filter(move |_| list).map(|(_, item)| item)
    }

    /// What is in a list or an object, without names.
    pub fn values(self) -> impl Iterator<Item = Self> + use<'d> {
        self.children().map(|(_, value)| value)
    }

    /// The text of a member, empty where there is none.
    #[must_use]
    pub fn text(self, key: &str) -> &'d str {
        self.get(key).as_str().unwrap_or_default()
    }

    /// Whether it is nothing, or null.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self.node(), None | Some(Node { kind: Kind::Null, .. }))
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self.node(), Some(Node { kind: Kind::Object, .. }))
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_array(self) -> bool {
        matches!(self.node(), Some(Node { kind: Kind::List, .. }))
    }

    /// Whether there is anything in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.children().next().is_none()
    }

    /// Its text, where it is one.
    #[must_use]
    pub fn as_str(self) -> Option<&'d str> {
        match self.node()?.kind {
            Kind::Text(span) => Some(self.document.span(span)),
            _ => None,
        }
    }

    /// True or false, where it is that.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.node()?.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Its value, where it is a number without fraction or exponent.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        self.raw().parse().ok().filter(|_| matches!(self.node(), Some(Node { kind: Kind::Number, .. })))
    }

    /// The very text that was sent.
    #[must_use]
    pub fn raw(self) -> &'d str {
        self.node().map_or("null", |node| &self.document.text[node.start as usize..node.end as usize])
    }

    /// Whether it means the same as another: mostly it is the same text.
    #[must_use]
    pub fn means(self, other: &str) -> bool {
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        self.raw() == other || value(self.raw()) == value(other)
    }
}

/// The very text that was sent.
impl ToJson for Json<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.raw().as_bytes());
    }
}

#[cfg(test)]
mod tests;
