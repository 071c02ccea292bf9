//! Changes of one container's `env`.
//!
//! The list may hold a name several times: the last one counts for the kubelet, and an optional
//! reference whose key is absent doesn't count at all. So a name is always set or cleared in all its
//! places, and may be wanted several times in an order.

use std::borrow::Cow;

use super::ops::{Ops, Path};
use json_index::{Json, ToJson, object, to_json};

/// An entry that is wanted. The API server drops an empty `value`, so that it is not written.
#[derive(Debug, Clone)]
pub struct Entry<'v> {
    /// Name of the variable.
    pub name: &'static str,
    value: Cow<'v, str>,
    value_from: Option<Reference<'v>>,
}

#[derive(Debug, Clone, Copy)]
enum Reference<'v> {
    /// As another container has it.
    Copied(Json<'v>),
    /// To a key of a Secret, which may be absent.
    Secret { name: &'v str, key: &'v str },
}

impl ToJson for Entry<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| {
            members.add("name", self.name);
            if !self.value.is_empty() {
                members.add("value", &self.value);
            }
            if let Some(reference) = &self.value_from {
                members.add("valueFrom", reference);
            }
        });
    }
}

impl ToJson for Reference<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Copied(json) => json.to_json(out),
            Self::Secret { name, key } => object(out, |members| {
                // In the API server's own order, so that it is found again as it was written.
                members.object("secretKeyRef", |members| {
                    members.add("name", name);
                    members.add("key", key);
                    members.add("optional", &true);
                });
            }),
        }
    }
}

impl<'v> Entry<'v> {
    /// A value as the kubelet is to see it, see `literal`.
    pub fn value(name: &'static str, value: impl Into<Cow<'v, str>>) -> Self {
        Self { name, value: value.into(), value_from: None }
    }

    /// What another container has as its `valueFrom`.
    pub fn copied(name: &'static str, value_from: Json<'v>) -> Self {
        Self { name, value: "".into(), value_from: Some(Reference::Copied(value_from)) }
    }

    /// A key of a Secret, which may be absent.
    pub fn secret(name: &'static str, secret: &'v str, key: &'v str) -> Self {
        Self { name, value: "".into(), value_from: Some(Reference::Secret { name: secret, key }) }
    }

    /// Whether the kubelet passes over the entry when what it refers to is not there.
    pub fn may_be_absent(&self) -> bool {
        match &self.value_from {
            None => false,
            Some(Reference::Secret { .. }) => true,
            Some(Reference::Copied(from)) => {
                from.values().any(|reference| reference.get("optional").as_bool() == Some(true))
            }
        }
    }

    /// Whether that is what stands there; an absent `value` and an empty one are the same.
    fn is(&self, entry: Json<'_>) -> bool {
        let from = entry.get("valueFrom");
        entry.text("value") == self.value
            && match &self.value_from {
                None => from.is_null(),
                Some(Reference::Copied(wanted)) => from.means(wanted.raw()),
                Some(wanted) => from.means(&to_json(wanted)),
            }
    }
}

/// The `env` of a container: names and entries, in order.
#[derive(Debug)]
pub struct Entries<'v> {
    exists: bool,
    entries: Vec<(&'v str, Json<'v>)>,
}

impl<'v> Entries<'v> {
    /// Of a container.
    pub fn of(container: Json<'v>) -> Self {
        let env = container.get("env");
        let entries = env.items().map(|entry| (entry.text("name"), entry)).collect();
        Self { exists: env.is_array(), entries }
    }

    /// The entry of that name; the last one, as for the kubelet.
    pub fn last(&self, name: &str) -> Option<Json<'v>> {
        self.entries.iter().rfind(|(found, _)| *found == name).map(|(_, entry)| *entry)
    }
}

/// Changes of the `env` of one container.
#[derive(Debug)]
pub struct Environment<'v, 'p> {
    path: Path<'p>,
    current: &'p Entries<'v>,
    removed: Vec<usize>,
    appended: Vec<Entry<'v>>,
}

impl<'v, 'p> Environment<'v, 'p> {
    /// Of the container at this place.
    pub fn of(current: &'p Entries<'v>, container: &'p Path<'p>) -> Self {
        Self { path: container.below("env"), current, removed: Vec::new(), appended: Vec::new() }
    }

    /// Makes the entries of that name those that are wanted, in place where there are some.
    pub fn set(&mut self, ops: &mut Ops, name: &str, entries: &[Entry<'v>]) {
        let mut wanted = entries.iter();
        for (index, (found, entry)) in self.current.entries.iter().enumerate() {
            if *found != name {
                continue;
            }
            match wanted.next() {
                Some(wanted) if wanted.is(*entry) => {}
                Some(wanted) => ops.replace(self.path.below(index), wanted),
                None => self.removed.push(index),
            }
        }
        self.appended.extend(wanted.cloned());
    }

    /// Removes every entry whose name is meant.
    pub fn clear(&mut self, meant: impl Fn(&str) -> bool) {
        let entries = self.current.entries.iter().enumerate();
        self.removed.extend(entries.filter(|(_, (name, _))| meant(name)).map(|(index, _)| index));
    }

    /// Writes what changes the list's length: from the back, so that no index shifts under another.
    pub fn finish(mut self, ops: &mut Ops) {
        self.removed.sort_unstable();
        self.removed.dedup();
        for index in self.removed.iter().rev() {
            ops.remove(self.path.below(*index));
        }
        ops.append(self.path, self.current.exists, &self.appended);
    }
}
