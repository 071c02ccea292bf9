//! Changes of one container's `env`.
//!
//! The list may hold a name several times: the last one counts for the kubelet, and an optional
//! reference whose key is absent doesn't count at all. So a name is always set or cleared in all its
//! places, and may be wanted several times in an order.

use json_patch::jsonptr::PointerBuf;
use serde_json::Value;

use super::ops::{Ops, below};
use crate::admit::json::{self, Json};

/// The entries that a variable is to have; none to clear it.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Name of the variable.
    pub name: String,
    /// Entries of that name, in order.
    pub entries: Vec<Value>,
}

/// Changes of the `env` of one container.
#[derive(Debug)]
pub struct Environment<'v, 'a> {
    path: PointerBuf,
    current: &'v Json<'a>,
    removed: Vec<usize>,
    appended: Vec<Value>,
}

impl<'v, 'a> Environment<'v, 'a> {
    /// Of the container at this place.
    pub fn of(container: &'v Json<'a>, at: &PointerBuf) -> Self {
        Self {
            path: below(at, "env"),
            current: json::get(container, "env"),
            removed: Vec::new(),
            appended: Vec::new(),
        }
    }

    /// Makes the entries of that name those that are wanted, in place where there are some.
    pub fn set(&mut self, ops: &mut Ops, variable: &Variable) {
        let current = self.current.as_array().unwrap_or_default();
        let mut wanted = variable.entries.iter();
        for (index, entry) in current.iter().enumerate() {
            if json::text(entry, "name") != variable.name {
                continue;
            }
            match wanted.next() {
                Some(wanted) if same(entry, wanted) => {}
                Some(wanted) => ops.replace(below(&self.path, index), wanted.clone()),
                None => self.removed.push(index),
            }
        }
        self.appended.extend(wanted.cloned());
    }

    /// Removes every entry whose name is meant.
    pub fn clear(&mut self, meant: impl Fn(&str) -> bool) {
        let current = self.current.as_array().unwrap_or_default().iter().enumerate();
        self.removed.extend(current.filter(|(_, entry)| meant(json::text(entry, "name"))).map(|(at, _)| at));
    }

    /// Writes what changes the list's length: from the back, so that no index shifts under another.
    pub fn finish(mut self, ops: &mut Ops) {
        self.removed.sort_unstable();
        self.removed.dedup();
        for index in self.removed.iter().rev() {
            ops.remove(below(&self.path, *index));
        }
        ops.append(&self.path, self.current.is_array(), self.appended);
    }
}

/// Whether an entry is the wanted one; an absent `value` and an empty one are the same.
fn same(entry: &Json<'_>, wanted: &Value) -> bool {
    let value = wanted["value"].as_str().unwrap_or_default();
    json::text(entry, "value") == value && json::owned(json::get(entry, "valueFrom")) == wanted["valueFrom"]
}
