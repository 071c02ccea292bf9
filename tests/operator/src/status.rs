//! Changes a session's status: pure, on the JSON as read, so that other writers' fields stay as and where they are.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use workflow_contract::condition::WORKFLOW_RECONCILED;

use crate::session::{Phase, SessionView, Workflow};

/// Reason of the condition after a failed POST.
pub const UPDATE_FAILED: &str = "UpdateFailed";
/// Reason of the condition after a POST that was answered with 200; the injector uses the same one.
const RECONCILED: &str = "Reconciled";

/// A status being changed, at one moment and for one generation of the session.
pub(crate) struct StatusEditor<'a> {
    body: &'a mut Value,
    generation: i64,
    now: Timestamp,
}

impl<'a> StatusEditor<'a> {
    /// Changes the status inside `body`, a session's `spec` and `status`.
    pub(crate) fn new(body: &'a mut Value, generation: i64, now: Timestamp) -> Self {
        Self { body, generation, now }
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.set("phase", json!(phase));
    }

    /// Begins a run: rewrites `startTime`, removes `completionTime`.
    pub(crate) fn begin_run(&mut self) {
        self.set("startTime", json!(self.time()));
        self.status().remove("completionTime");
    }

    pub(crate) fn complete(&mut self) {
        self.set("completionTime", json!(self.time()));
    }

    pub(crate) fn observe_generation(&mut self) {
        self.set("observedGeneration", json!(self.generation));
    }

    fn reconciled_workflow(&mut self, workflow: &Workflow) {
        let reconciled = json!({
            "gitUrl": workflow.git_url,
            "branch": workflow.branch(),
            "path": workflow.path,
            "status": "Active",
            "appliedAt": self.time(),
        });
        self.set("reconciledWorkflow", reconciled);
    }

    /// Writes the outcome of a POST of the workflow to the runner.
    pub(crate) fn delivery(&mut self, workflow: &Workflow, outcome: &Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.reconciled_workflow(workflow);
                let message = format!("Switched to workflow {} ({})", workflow.git_url, workflow.branch());
                self.condition(WORKFLOW_RECONCILED, true, RECONCILED, &message);
            }
            Err(error) => self.condition(WORKFLOW_RECONCILED, false, UPDATE_FAILED, error),
        }
    }

    /// Upserts a condition by type, in its place if it exists. Its transition time changes with its status only. Its
    /// observedGeneration is never written: the one found there stays.
    pub(crate) fn condition(&mut self, r#type: &str, status: bool, reason: &str, message: &str) {
        let time = self.time();
        let status = if status { "True" } else { "False" };
        let conditions = self.status().entry("conditions").or_insert_with(|| json!([]));
        let Some(conditions) = conditions.as_array_mut() else { return };
        let position = conditions.iter().position(|condition| condition["type"] == r#type);
        let position = position.unwrap_or_else(|| {
            conditions.push(json!({ "type": r#type }));
            conditions.len() - 1
        });
        let condition = &mut conditions[position];
        if condition["status"] != status {
            condition["lastTransitionTime"] = json!(time);
        }
        condition["status"] = json!(status);
        condition["reason"] = json!(reason);
        condition["message"] = json!(message);
    }

    /// As [`condition`](Self::condition), but adds none.
    pub(crate) fn existing_condition(&mut self, r#type: &str, status: bool, reason: &str, message: &str) {
        if self.body.condition(r#type).is_some() {
            self.condition(r#type, status, reason, message);
        }
    }

    fn time(&self) -> String {
        // Kubernetes' own precision.
        format!("{:.0}", self.now)
    }

    fn set(&mut self, field: &str, value: Value) {
        self.status().insert(field.to_owned(), value);
    }

    fn status(&mut self) -> &mut Map<String, Value> {
        let status = &mut self.body["status"];
        if !status.is_object() {
            *status = json!({});
        }
        match status {
            Value::Object(status) => status,
            _ => unreachable!("made an object above"),
        }
    }
}
