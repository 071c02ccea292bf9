//! Changes to a session's status: pure, on the JSON as read, so that whatever others wrote stays as it is and where it
//! is.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::session::{Phase, SessionView, Workflow};

/// A status being changed, at one moment and for one generation of the session.
pub(crate) struct StatusWriter<'a> {
    body: &'a mut Value,
    generation: i64,
    now: Timestamp,
}

impl<'a> StatusWriter<'a> {
    /// Changes the status inside `body`, a session's `spec` and `status`.
    pub(crate) fn new(body: &'a mut Value, generation: i64, now: Timestamp) -> Self {
        Self { body, generation, now }
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.set("phase", json!(phase));
    }

    /// A run begins: `startTime` is rewritten, `completionTime` goes.
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

    pub(crate) fn reconciled_workflow(&mut self, workflow: &Workflow) {
        let reconciled = json!({
            "gitUrl": workflow.git_url,
            "branch": workflow.branch(),
            "path": workflow.path,
            "status": "Active",
            "appliedAt": self.time(),
        });
        self.set("reconciledWorkflow", reconciled);
    }

    /// Upserts a condition by type: in its place if it exists, else at the end; its transition time moves only when its
    /// status does.
    pub(crate) fn condition(&mut self, r#type: &str, status: bool, reason: &str, message: &str) {
        let (time, generation) = (self.time(), self.generation);
        let status = if status { "True" } else { "False" };
        let conditions = self.status().entry("conditions").or_insert_with(|| json!([]));
        let Some(conditions) = conditions.as_array_mut() else { return };
        let position = conditions.iter().position(|condition| condition["type"] == r#type);
        let since = position
            .map(|position| &conditions[position])
            .filter(|condition| condition["status"] == status)
            .map_or_else(|| json!(time), |condition| condition["lastTransitionTime"].clone());
        let condition = json!({
            "type": r#type,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": generation,
        });
        match position {
            Some(position) => conditions[position] = condition,
            None => conditions.push(condition),
        }
    }

    /// As [`condition`](Self::condition), but leaves a session that has no condition of this type without it.
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

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "2026-01-01T00:00:00Z";

    fn change(mut body: Value, change: impl FnOnce(&mut StatusWriter<'_>)) -> Value {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        change(&mut StatusWriter::new(&mut body, 7, now));
        body["status"].clone()
    }

    #[test]
    fn a_first_write_makes_the_status() {
        let status = change(json!({ "spec": {} }), |status| {
            status.phase(Phase::Pending);
            status.begin_run();
        });
        assert_eq!(status, json!({ "phase": "Pending", "startTime": "2026-01-02T03:04:05Z" }));
    }

    #[test]
    fn keeps_unknown_fields_and_conditions_in_their_order() {
        let theirs = json!({ "type": "Theirs", "status": "True", "extra": 1 });
        let body = json!({ "status": {
            "other": true,
            "conditions": [theirs, { "type": "Ready", "status": "True", "lastTransitionTime": EARLIER }, theirs],
        } });
        let status = change(body, |status| status.condition("Ready", false, "PodFailed", "it failed"));
        assert_eq!(status["other"], true);
        assert_eq!(
            status["conditions"],
            json!([
                theirs,
                {
                    "type": "Ready", "status": "False", "reason": "PodFailed", "message": "it failed",
                    "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 7,
                },
                theirs,
            ])
        );
    }

    #[test]
    fn transition_time_stands_while_the_status_does() {
        let body = json!({ "status": {
            "conditions": [{ "type": "Ready", "status": "False", "reason": "A", "lastTransitionTime": EARLIER }],
        } });
        let status = change(body, |status| status.condition("Ready", false, "B", ""));
        assert_eq!(status["conditions"][0]["reason"], "B");
        assert_eq!(status["conditions"][0]["lastTransitionTime"], EARLIER);
    }

    #[test]
    fn a_condition_can_be_left_absent() {
        let status =
            change(json!({ "status": {} }), |status| status.existing_condition("Ready", true, "A", ""));
        assert_eq!(status, json!({}));
    }

    #[test]
    fn a_new_run_drops_the_old_ones_end() {
        let body = json!({ "status": { "startTime": EARLIER, "completionTime": EARLIER } });
        let status = change(body, |status| {
            status.phase(Phase::Pending);
            status.begin_run();
        });
        assert_eq!(status, json!({ "phase": "Pending", "startTime": "2026-01-02T03:04:05Z" }));
    }

    #[test]
    fn reconciled_workflow_has_the_effective_branch() {
        let workflow = Workflow { git_url: "https://h/r".into(), branch: String::new(), path: "a".into() };
        let status = change(json!({}), |status| status.reconciled_workflow(&workflow));
        assert_eq!(status["reconciledWorkflow"]["branch"], "main");
        assert_eq!(status["reconciledWorkflow"]["status"], "Active");
    }
}
