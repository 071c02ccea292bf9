//! Tolerant access to JSON: a member that is absent or of another type is empty.

use serde_json::Value;

/// A string member.
pub(crate) fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    object[name].as_str().unwrap_or_default()
}

pub(crate) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
