//! Compares what is there with what is wanted, and emits the operations between the two.

use std::borrow::{Borrow, Cow};

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Map, Value};

/// A wanted list. Items that are there already are borrowed: copying them would be most of the work of a patch.
pub type List<'v> = Vec<Cow<'v, Value>>;

/// Operations in the order in which they are applied.
#[derive(Debug, Default)]
pub struct Operations(Vec<PatchOperation>);

impl Operations {
    pub fn into_patch(self) -> Patch {
        Patch(self.0)
    }

    /// Emits what turns `current` into `wanted`.
    pub fn reconcile(&mut self, path: &Pointer, current: &Value, wanted: Value) {
        match (current, wanted) {
            (current, wanted) if *current == wanted => {}
            (Value::Object(current), Value::Object(wanted)) => self.members(path, current, wanted),
            (current, Value::Array(wanted)) => {
                self.list(path, current, wanted.into_iter().map(Cow::Owned).collect());
            }
            // `add` replaces a member that exists.
            (_, wanted) => self.add(path.to_buf(), wanted),
        }
    }

    /// Emits what turns `current` into a list of `wanted`. An absent list and an empty one are the same: the API server
    /// drops empty ones.
    pub fn list(&mut self, path: &Pointer, current: &Value, wanted: List<'_>) {
        match current {
            Value::Array(current) if is_keyed(current) && is_keyed(&wanted) => {
                self.items(path, current, wanted);
            }
            Value::Array(current) if current.iter().eq(wanted.iter().map(Cow::as_ref)) => {}
            Value::Null if wanted.is_empty() => {}
            _ => self.add(path.to_buf(), wanted.into_iter().map(Cow::into_owned).collect()),
        }
    }

    fn members(&mut self, path: &Pointer, current: &Map<String, Value>, wanted: Map<String, Value>) {
        for name in current.keys().filter(|name| !wanted.contains_key(*name)) {
            self.remove(path.with_trailing_token(name));
        }
        for (name, wanted) in wanted {
            let current = current.get(&name).unwrap_or(&Value::Null);
            self.reconcile(&path.with_trailing_token(name), current, wanted);
        }
    }

    /// Lists are compared in order: an item of the same key is changed in place, one that is not wanted next is
    /// removed, what is left is appended. Removals come last and from the back, so that no index shifts.
    fn items(&mut self, path: &Pointer, current: &[Value], wanted: List<'_>) {
        let mut rest = wanted.into_iter().peekable();
        let mut removed = Vec::new();
        for (index, current) in current.iter().enumerate() {
            if rest.next_if(|wanted| is_same(wanted, current)).is_some() {
                continue;
            }
            match rest.next_if(|wanted| key(wanted).is_some() && key(wanted) == key(current)) {
                Some(wanted) => {
                    self.reconcile(&path.with_trailing_token(index), current, wanted.into_owned());
                }
                None => removed.push(index),
            }
        }
        for index in removed.into_iter().rev() {
            self.remove(path.with_trailing_token(index));
        }
        for wanted in rest {
            self.add(path.with_trailing_token("-"), wanted.into_owned());
        }
    }

    fn add(&mut self, path: PointerBuf, value: Value) {
        self.0.push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn remove(&mut self, path: PointerBuf) {
        self.0.push(PatchOperation::Remove(RemoveOperation { path }));
    }
}

/// Compares two items; those that were borrowed are mostly the same object.
fn is_same(one: &Value, other: &Value) -> bool {
    std::ptr::eq(one, other) || one == other
}

/// The identity of a list's item: the path of a mount, else the name.
fn key(item: &Value) -> Option<&str> {
    item["mountPath"].as_str().or_else(|| item["name"].as_str())
}

/// Reports whether a list's items are objects; lists of other values are replaced as a whole.
fn is_keyed<V: Borrow<Value>>(list: &[V]) -> bool {
    list.iter().any(|item| item.borrow().is_object()) || list.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn operations(current: &Value, wanted: &Value) -> Patch {
        let mut operations = Operations::default();
        operations.reconcile(Pointer::root(), current, wanted.clone());
        operations.into_patch()
    }

    #[test]
    fn emits_only_what_differs() {
        let entry = |name: &str, value: &str| json!({"name": name, "value": value});
        for (current, wanted, expected) in [
            (json!({"a": 1}), json!({"a": 1}), json!([])),
            (
                json!({"a": 1, "b": 2}),
                json!({"b": 3}),
                json!([
                    {"op": "remove", "path": "/a"}, {"op": "add", "path": "/b", "value": 3},
                ]),
            ),
            (json!({"a": null}), json!({"a": []}), json!([])),
            (
                json!([entry("a", "1"), entry("b", "2"), entry("a", "3")]),
                json!([entry("a", "9"), entry("c", "4")]),
                json!([
                    {"op": "add", "path": "/0/value", "value": "9"},
                    {"op": "remove", "path": "/2"}, {"op": "remove", "path": "/1"},
                    {"op": "add", "path": "/-", "value": entry("c", "4")},
                ]),
            ),
            (
                json!({"drop": ["A"]}),
                json!({"drop": ["B", "C"]}),
                json!([
                    {"op": "add", "path": "/drop", "value": ["B", "C"]},
                ]),
            ),
        ] {
            assert_eq!(serde_json::to_value(operations(&current, &wanted)).unwrap(), expected);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), "[ab]".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec(("(name|mountPath|[abc/~])", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Empty lists and null members count as absent.
    fn normal(value: &Value) -> Value {
        match value {
            Value::Array(items) if items.is_empty() => Value::Null,
            Value::Array(items) => items.iter().map(normal).collect(),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone(), normal(value)));
                Value::Object(members.filter(|(_, value)| !value.is_null()).collect())
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn patched_value_is_the_wanted_one(current in any_json(), wanted in any_json()) {
            let (current, wanted) = (json!({"x": current}), json!({"x": wanted}));
            let mut patched = current.clone();
            json_patch::patch(&mut patched, &operations(&current, &wanted)).unwrap();
            if wanted["x"] != json!([]) {
                prop_assert_eq!(normal(&patched), normal(&wanted));
            }
            prop_assert!(operations(&wanted, &wanted).is_empty());
        }
    }
}
