//! JSON as it was sent, with an index of where each of its values begins and ends.
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
//! A package of its own because it is compiled for speed, as the rest of the webhook is not.

mod scan;

use serde::{Serialize, Serializer, ser};
use serde_json::Value;
use serde_json::value::RawValue;

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
    /// Of a list or an object: the first node that is not in it.
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

/// A text without its quotes.
#[derive(Debug, Clone, Copy)]
enum Span {
    /// As it stands in the document, from one byte to before another.
    Verbatim(u32, u32),
    /// One of those that had escapes.
    Unescaped(u32),
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
        match span {
            Span::Verbatim(start, end) => &self.text[start as usize..end as usize],
            Span::Unescaped(at) => &self.unescaped[at as usize],
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
        let (mut at, behind) = match self.node() {
            Some(node @ Node { kind: Kind::List | Kind::Object, .. }) => (self.at + 1, node.behind as usize),
            _ => (0, 0),
        };
        std::iter::from_fn(move || {
            let child = Self { document, at };
            let node = child.node().filter(|_| at < behind)?;
            at = if matches!(node.kind, Kind::List | Kind::Object) { node.behind as usize } else { at + 1 };
            Some((node.key, child))
        })
    }

    /// The member of an object, nothing where there is none.
    #[must_use]
    pub fn get(self, key: &str) -> Self {
        let nothing = Self { document: self.document, at: usize::MAX };
        if !self.is_object() {
            return nothing;
        }
        let named = self.children().filter(|(name, _)| self.document.span(*name) == key);
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
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.raw()).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
