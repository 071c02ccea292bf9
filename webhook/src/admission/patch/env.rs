//! Changes of one container's `env`.
//!
//! The list may contain a name several times: the last one counts for the kubelet, and an optional reference
//! whose key is absent does not count at all. So a name is always set or cleared in all its places, and may be
//! wanted several times in an order.

use serde_json::{Value, json};

use crate::admission::json::{items, text};

/// A variable with a value, escaped for the kubelet (see `literal`). The API server drops an empty `value`, so it is not
/// written.
pub fn variable(name: &str, value: &str) -> Value {
    if value.is_empty() { json!({"name": name}) } else { json!({"name": name, "value": value}) }
}

/// A reference to a key of a Secret, both of which may be absent.
pub fn secret_variable(name: &str, secret: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": true}}})
}

/// Returns the last entry of a name in a container's `env`, which is the one that counts.
pub fn last<'v>(container: &'v Value, name: &str) -> Option<&'v Value> {
    items(&container["env"]).iter().rfind(|entry| text(entry, "name") == name)
}

/// The `env` that a container is to have.
#[derive(Debug)]
pub struct Env(Vec<Value>);

impl Env {
    /// Starts with the current one.
    pub fn of(container: &Value) -> Self {
        Self(items(&container["env"]).to_vec())
    }

    /// Returns the value of a name's last entry, empty for a reference.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|entry| text(entry, "name") == name).map(|entry| text(entry, "value"))
    }

    /// Makes `wanted` the entries of that name, in place as far as there are some.
    pub fn set(&mut self, name: &str, wanted: impl IntoIterator<Item = Value>) {
        let mut wanted = wanted.into_iter();
        self.0.retain_mut(|entry| {
            if text(entry, "name") != name {
                return true;
            }
            match wanted.next() {
                Some(wanted) if is_same(entry, &wanted) => true,
                Some(wanted) => {
                    *entry = wanted;
                    true
                }
                None => false,
            }
        });
        self.0.extend(wanted);
    }

    /// Removes every entry whose name matches.
    pub fn clear(&mut self, matches: impl Fn(&str) -> bool) {
        self.0.retain(|entry| !matches(text(entry, "name")));
    }
}

impl From<Env> for Value {
    fn from(Env(entries): Env) -> Self {
        entries.into()
    }
}

/// Reports whether two entries mean the same to the kubelet: an absent `value` is an empty one.
fn is_same(one: &Value, other: &Value) -> bool {
    text(one, "value") == text(other, "value") && one["valueFrom"] == other["valueFrom"]
}
