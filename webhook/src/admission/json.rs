//! Tolerant access to JSON: a member that is absent or of another type is empty.

use serde_json::Value;

/// A string member. Most objects have few members, among which it is faster to compare names than to hash one.
pub(crate) fn text<'v>(object: &'v Value, name: &str) -> &'v str {
    let member = object.as_object().and_then(|members| members.iter().find(|(known, _)| *known == name));
    member.and_then(|(_, value)| value.as_str()).unwrap_or_default()
}

pub(crate) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
