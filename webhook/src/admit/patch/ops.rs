//! The list of operations, written as it comes: JSON Patch is text, and nothing reads it before it is sent.

use std::io::Write;

use json_index::ToJson;

/// The token that means "behind the last item of a list".
pub const LAST: &str = "-";

/// Room for what is mostly written, in bytes.
const ROOM: usize = 4096;

/// RFC 6902 as text; empty where there are no operations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Patch(Vec<u8>);

impl Patch {
    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A place in a pod (RFC 6901), held together by references: it is only ever written.
#[derive(Debug, Clone, Copy)]
pub struct Path<'p> {
    above: Option<&'p Path<'p>>,
    token: Token,
}

/// One step. Names are ours, without what JSON would escape.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// A member.
    Name(&'static str),
    /// An item.
    Index(usize),
}

impl From<&'static str> for Token {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Token {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Path<'static> {
    /// The pod itself.
    pub const ROOT: Self = Self { above: None, token: Token::Name("") };
    /// `/metadata`.
    pub const METADATA: Self = Self { above: Some(&Self::ROOT), token: Token::Name("metadata") };
    /// `/spec`.
    pub const SPEC: Self = Self { above: Some(&Self::ROOT), token: Token::Name("spec") };
    /// `/spec/initContainers`.
    pub const INIT_CONTAINERS: Self = Self { above: Some(&Self::SPEC), token: Token::Name("initContainers") };
    /// `/spec/containers`.
    pub const CONTAINERS: Self = Self { above: Some(&Self::SPEC), token: Token::Name("containers") };
}

impl Path<'_> {
    /// The path with one more token.
    #[must_use]
    pub fn below(&self, token: impl Into<Token>) -> Path<'_> {
        Path { above: Some(self), token: token.into() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Some(above) = self.above else { return };
        above.write(out);
        out.push(b'/');
        match self.token {
            Token::Name(name) if !name.contains(['~', '/']) => out.extend_from_slice(name.as_bytes()),
            Token::Name(name) => {
                for &byte in name.as_bytes() {
                    match byte {
                        b'~' => out.extend_from_slice(b"~0"),
                        b'/' => out.extend_from_slice(b"~1"),
                        _ => out.push(byte),
                    }
                }
            }
            // Writing to memory does not fail.
            Token::Index(index) => drop(write!(out, "{index}")),
        }
    }
}

/// Operations in the order in which they are to be applied.
#[derive(Debug, Default)]
pub struct Ops {
    out: Vec<u8>,
}

impl Ops {
    /// Adds a member or an item; a member that exists is replaced.
    pub fn add(&mut self, path: Path<'_>, value: &(impl ToJson + ?Sized)) {
        self.operation("add", "path", path);
        self.value(value);
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: Path<'_>, value: &(impl ToJson + ?Sized)) {
        self.operation("replace", "path", path);
        self.value(value);
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: Path<'_>) {
        self.operation("remove", "path", path);
        self.out.push(b'}');
    }

    /// Moves an item.
    pub fn relocate(&mut self, from: Path<'_>, path: Path<'_>) {
        self.operation("move", "from", from);
        self.out.extend_from_slice(br#","path":""#);
        path.write(&mut self.out);
        self.out.extend_from_slice(br#""}"#);
    }

    /// Adds items behind the last one of a list; `exists` says whether there is a list yet.
    pub fn append(&mut self, list: Path<'_>, exists: bool, items: &[impl ToJson]) {
        if !exists && !items.is_empty() {
            return self.add(list, items);
        }
        for item in items {
            self.add(list.below(LAST), item);
        }
    }

    /// The whole list.
    #[must_use]
    pub fn into_patch(mut self) -> Patch {
        if !self.out.is_empty() {
            self.out.push(b']');
        }
        Patch(self.out)
    }

    /// An operation up to its first path.
    fn operation(&mut self, name: &str, member: &str, path: Path<'_>) {
        if self.out.is_empty() {
            self.out.reserve(ROOM);
        }
        self.out.push(if self.out.is_empty() { b'[' } else { b',' });
        for part in [r#"{"op":""#, name, r#"",""#, member, r#"":""#] {
            self.out.extend_from_slice(part.as_bytes());
        }
        path.write(&mut self.out);
        self.out.push(b'"');
    }

    fn value(&mut self, value: &(impl ToJson + ?Sized)) {
        self.out.extend_from_slice(br#","value":"#);
        value.to_json(&mut self.out);
        self.out.push(b'}');
    }
}
