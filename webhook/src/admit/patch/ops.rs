//! The list of operations, in the words of the rest of these files.

use json_patch::jsonptr::{Pointer, PointerBuf, Token};
use json_patch::{AddOperation, MoveOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::Value;

/// The token that means "behind the last item of a list".
pub const LAST: &str = "-";

/// Operations in the order in which they are to be applied.
#[derive(Debug, Default)]
pub struct Ops(Vec<PatchOperation>);

impl Ops {
    /// Adds a member or an item; a member that exists is replaced.
    pub fn add(&mut self, path: PointerBuf, value: Value) {
        self.0.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: PointerBuf, value: Value) {
        self.0.push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: PointerBuf) {
        self.0.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// Moves an item.
    pub fn relocate(&mut self, from: PointerBuf, path: PointerBuf) {
        self.0.push(PatchOperation::Move(MoveOperation { from, path }));
    }

    /// Adds items behind the last one of a list; `exists` says whether there is a list yet.
    pub fn append(&mut self, list: &Pointer, exists: bool, items: Vec<Value>) {
        if items.is_empty() {
            return;
        }
        if exists {
            for item in items {
                self.add(below(list, LAST), item);
            }
        } else {
            self.add(list.to_buf(), Value::Array(items));
        }
    }

    /// The whole list.
    #[must_use]
    pub fn into_patch(self) -> Patch {
        Patch(self.0)
    }
}

/// The pointer with one more token, escaped as needed.
pub fn below<'t>(pointer: &Pointer, token: impl Into<Token<'t>>) -> PointerBuf {
    pointer.with_trailing_token(token)
}

/// Pointer to an item of one of the pod's lists, such as the second of `initContainers`.
pub fn item(list: &str, index: usize) -> PointerBuf {
    PointerBuf::from_tokens([Token::new("spec"), Token::new(list), Token::from(index)])
}
