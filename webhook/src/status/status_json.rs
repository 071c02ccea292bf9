//! Applies a change to a session's JSON.
//!
//! The operator owns the status, and its list of conditions is atomic, so a write replaces all of it.
//! The JSON is edited in place, which keeps fields and conditions that are not known here.

use serde_json::{Map, Value};
use workflow_contract::condition::WORKFLOW_RECONCILED;

use super::condition::StatusChange;
use crate::session::{Condition, ReconciledWorkflow};

/// The session's JSON has an unexpected shape.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("`{0}` has an unexpected type; the status is left unchanged")]
    Unexpected(&'static str),
    #[error("the change can't be written as JSON")]
    StatusChange(#[from] serde_json::Error),
}

/// Applies the change to a session's JSON: replaces the condition of our type in place or appends it, and
/// keeps every other condition and field, and their order.
///
/// # Errors
/// [`ShapeError`]; the JSON may then be partly changed.
pub fn apply(session: &mut Value, change: &StatusChange) -> Result<(), ShapeError> {
    let session = session.as_object_mut().ok_or(ShapeError::Unexpected("session"))?;
    let status = object(session, "status")?;
    if let Some(workflow) = &change.workflow {
        const KEYS: [&str; 5] = ["gitUrl", "branch", "path", "status", "appliedAt"];
        merge(object(status, "reconciledWorkflow")?, to_object::<ReconciledWorkflow>(workflow)?, &KEYS);
    }
    let conditions = status.entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    let conditions = conditions.as_array_mut().ok_or(ShapeError::Unexpected("status.conditions"))?;
    let fresh = to_object::<Condition>(&change.condition)?;
    match conditions.iter_mut().find(|one| one["type"] == WORKFLOW_RECONCILED) {
        Some(Value::Object(old)) => {
            const KEYS: [&str; 6] =
                ["type", "status", "reason", "message", "lastTransitionTime", "observedGeneration"];
            merge(old, fresh, &KEYS);
        }
        _ => conditions.push(Value::Object(fresh)),
    }
    Ok(())
}

/// The object at this key, created if absent.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    key: &'static str,
) -> Result<&'a mut Map<String, Value>, ShapeError> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or(ShapeError::Unexpected(key))
}

/// Sets our keys to the new values and removes those that have none.
fn merge(old: &mut Map<String, Value>, fresh: Map<String, Value>, ours: &[&str]) {
    old.retain(|key, _| !ours.contains(&key.as_str()) || fresh.contains_key(key));
    old.extend(fresh);
}

fn to_object<T: serde::Serialize>(value: &T) -> Result<Map<String, Value>, ShapeError> {
    match serde_json::to_value(value)? {
        Value::Object(mut object) => {
            object.retain(|_, value| !value.is_null());
            Ok(object)
        }
        _ => Err(ShapeError::Unexpected("the change")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(workflow: Option<ReconciledWorkflow>) -> StatusChange {
        let condition = Condition {
            type_: WORKFLOW_RECONCILED.into(),
            status: "True".into(),
            reason: Some("Reconciled".into()),
            message: Some("m".into()),
            last_transition_time: "2026-01-01T00:00:00Z".parse().ok(),
            observed_generation: None,
        };
        StatusChange { condition, workflow, event: None }
    }

    #[test]
    fn keeps_other_conditions_their_order_and_every_unknown_field() {
        let mut session = json!({
            "spec": {"x": 1},
            "status": {
                "phase": "Running",
                "sdkRestartCount": 3,
                "reconciledWorkflow": {"gitUrl": "old", "branch": "b", "path": "p", "appliedAt": "x", "z": 1},
                "conditions": [
                    {"type": "Ready", "status": "True", "odd": {"a": [1]}},
                    {"type": "WorkflowReconciled", "status": "False", "observedGeneration": 4, "odd": 2},
                    {"type": "Later", "status": "False"},
                ],
            },
        });
        let workflow = ReconciledWorkflow {
            git_url: "u".into(),
            branch: "main".into(),
            status: Some("Cloning".into()),
            ..Default::default()
        };
        apply(&mut session, &change(Some(workflow))).unwrap();
        assert_eq!(
            session,
            json!({
                "spec": {"x": 1},
                "status": {
                    "phase": "Running",
                    "sdkRestartCount": 3,
                    "reconciledWorkflow": {"gitUrl": "u", "branch": "main", "status": "Cloning", "z": 1},
                    "conditions": [
                        {"type": "Ready", "status": "True", "odd": {"a": [1]}},
                        {"type": "WorkflowReconciled", "status": "True", "reason": "Reconciled",
                         "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z", "odd": 2},
                        {"type": "Later", "status": "False"},
                    ],
                },
            })
        );
    }

    #[test]
    fn appends_the_condition_where_there_is_none_and_leaves_the_workflow_alone() {
        for status in [json!({}), json!({"conditions": []})] {
            let mut session = json!({"status": status});
            apply(&mut session, &change(None)).unwrap();
            assert_eq!(session["status"]["conditions"][0]["reason"], "Reconciled");
            assert_eq!(session["status"].get("reconciledWorkflow"), None);
        }
    }

    #[test]
    fn rejects_a_status_of_another_shape() {
        for status in [json!([]), json!({"conditions": {}})] {
            assert!(apply(&mut json!({"status": status}), &change(None)).is_err());
        }
    }
}
