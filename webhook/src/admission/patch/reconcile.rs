//! Compares what is there with what is wanted, and emits the operations between the two.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Map, Value};

/// Operations in the order in which they are applied.
#[derive(Debug, Default)]
pub struct Operations(Vec<PatchOperation>);

impl Operations {
    pub fn into_patch(self) -> Patch {
        Patch(self.0)
    }

    /// Emits what turns `current` into `wanted`. An absent list and an empty one are the same: the API server
    /// drops empty ones.
    pub fn reconcile(&mut self, path: &Pointer, current: &Value, wanted: &Value) {
        match (current, wanted) {
            (current, wanted) if current == wanted => {}
            (Value::Object(current), Value::Object(wanted)) => self.members(path, current, wanted),
            (Value::Array(current), Value::Array(wanted)) if is_keyed(current) && is_keyed(wanted) => {
                self.items(path, current, wanted);
            }
            (Value::Null, Value::Array(wanted)) if wanted.is_empty() => {}
            // `add` replaces a member that exists.
            (_, wanted) => self.add(path.to_buf(), wanted),
        }
    }

    fn members(&mut self, path: &Pointer, current: &Map<String, Value>, wanted: &Map<String, Value>) {
        for name in current.keys().filter(|name| !wanted.contains_key(*name)) {
            self.remove(path.with_trailing_token(name));
        }
        for (name, wanted) in wanted {
            self.reconcile(
                &path.with_trailing_token(name),
                current.get(name).unwrap_or(&Value::Null),
                wanted,
            );
        }
    }

    /// Lists are compared in order: an item of the same key is changed in place, one that is not wanted next is
    /// removed, what is left is appended. Removals come last and from the back, so that no index shifts.
    fn items(&mut self, path: &Pointer, current: &[Value], wanted: &[Value]) {
        let mut rest = wanted.iter().peekable();
        let mut removed = Vec::new();
        for (index, current) in current.iter().enumerate() {
            let matches = |wanted: &&Value| {
                *wanted == current || (key(wanted).is_some() && key(wanted) == key(current))
            };
            match rest.next_if(matches) {
                Some(wanted) => self.reconcile(&path.with_trailing_token(index), current, wanted),
                None => removed.push(index),
            }
        }
        for index in removed.into_iter().rev() {
            self.remove(path.with_trailing_token(index));
        }
        for wanted in rest {
            self.add(path.with_trailing_token("-"), wanted);
        }
    }

    fn add(&mut self, path: PointerBuf, value: &Value) {
        self.0.push(PatchOperation::Add(AddOperation { path, value: value.clone() }));
    }

    fn remove(&mut self, path: PointerBuf) {
        self.0.push(PatchOperation::Remove(RemoveOperation { path }));
    }
}

/// The identity of a list's item: the path of a mount, else the name.
fn key(item: &Value) -> Option<&str> {
    item["mountPath"].as_str().or_else(|| item["name"].as_str())
}

/// Reports whether a list's items are objects; lists of other values are replaced as a whole.
fn is_keyed(list: &[Value]) -> bool {
    list.iter().any(Value::is_object) || list.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn operations(current: &Value, wanted: &Value) -> Patch {
        let mut operations = Operations::default();
        operations.reconcile(Pointer::root(), current, wanted);
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
