//! The result of a line, and the reading of untyped values.

use serde_json::Value;

/// The finding, or the defect with its remedy.
pub type CheckResult = Result<String, String>;

/// Items of a list; none if the value is something else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
