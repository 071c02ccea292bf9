//! Changes of one container's `env`.
//!
//! The list may contain a name several times: the last one counts for the kubelet, and an optional reference
//! whose key is absent does not count at all. So a name is always set or cleared in all its places, and may be
//! wanted several times in an order.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::reconcile::List;
use crate::admission::json::{items, text};

/// A variable with a value, escaped for the kubelet (see `literal`). The API server drops an empty `value`, so it is not
/// written.
pub fn variable(name: &str, value: &str) -> Value {
    let members = [("name", name), ("value", value)];
    members.into_iter().take(if value.is_empty() { 1 } else { 2 }).collect()
}

/// A reference to a key of a Secret, both of which may be absent.
pub fn secret_variable(name: &str, secret: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": true}}})
}

/// The `env` that a container has or is to have: names and entries.
#[derive(Debug)]
pub struct Env<'v>(Vec<(&'v str, Cow<'v, Value>)>);

impl<'v> Env<'v> {
    /// Starts with the current one.
    pub fn of(container: &'v Value) -> Self {
        let entries = items(&container["env"]).iter();
        Self(entries.map(|entry| (text(entry, "name"), Cow::Borrowed(entry))).collect())
    }

    /// Returns the last entry of a name, which is the one that counts.
    pub fn last(&self, name: &str) -> Option<&Value> {
        self.0.iter().rfind(|(known, _)| *known == name).map(|(_, entry)| entry.as_ref())
    }

    /// Returns the value of a name's last entry, empty for a reference.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.last(name).map(|entry| text(entry, "value"))
    }

    /// Makes `wanted` the entries of that name, in place as far as there are some.
    pub fn set(&mut self, name: &'v str, wanted: impl IntoIterator<Item = Value>) {
        let mut wanted = wanted.into_iter();
        self.0.retain_mut(|(known, entry)| {
            if *known != name {
                return true;
            }
            match wanted.next() {
                Some(wanted) if is_same(entry, &wanted) => true,
                Some(wanted) => {
                    *entry = Cow::Owned(wanted);
                    true
                }
                None => false,
            }
        });
        self.0.extend(wanted.map(|wanted| (name, Cow::Owned(wanted))));
    }

    /// Removes every entry whose name matches.
    pub fn clear(&mut self, matches: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| !matches(name));
    }

    pub fn into_list(self) -> List<'v> {
        self.0.into_iter().map(|(_, entry)| entry).collect()
    }
}

impl From<Env<'_>> for Value {
    fn from(env: Env<'_>) -> Self {
        env.into_list().into_iter().map(Cow::into_owned).collect()
    }
}

/// Reports whether two entries mean the same to the kubelet: an absent `value` is an empty one.
fn is_same(one: &Value, other: &Value) -> bool {
    text(one, "value") == text(other, "value") && one["valueFrom"] == other["valueFrom"]
}
