//! Reads of raw JSON that tolerate every absence.
//!
//! A pod stays the tree that the API server sent. No struct stands between, because fields that it
//! did not know would be lost; and `null`, a missing member and a value of another type all read as
//! nothing, because a pod may come from a file or from an API server newer than this.

use serde_json::Value;

/// JSON that borrows from the request body.
pub use serde_json_borrow::Value as Json;

static NULL: Json<'static> = Json::Null;

/// The member of an object, null where there is none.
#[must_use]
pub fn get<'v, 'a>(value: &'v Json<'a>, key: &str) -> &'v Json<'a> {
    value.as_object().and_then(|object| object.get(key)).unwrap_or(&NULL)
}

/// The items of a member that is a list, none where it is not.
#[must_use]
pub fn list<'v, 'a>(value: &'v Json<'a>, key: &str) -> &'v [Json<'a>] {
    get(value, key).as_array().unwrap_or_default()
}

/// The text of a member, empty where there is none.
#[must_use]
pub fn text<'v>(value: &'v Json<'_>, key: &str) -> &'v str {
    get(value, key).as_str().unwrap_or_default()
}

/// Where in a list the item with this `name` stands.
#[must_use]
pub fn position(items: &[Json<'_>], name: &str) -> Option<usize> {
    items.iter().position(|item| text(item, "name") == name)
}

/// A copy that outlives the request.
#[must_use]
pub fn owned(value: &Json<'_>) -> Value {
    Value::from(value)
}
