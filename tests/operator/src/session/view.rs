//! Reads the fields of a session that the operator and the tests use. Malformed fields are read as absent.

use std::fmt;

use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_contract::reference;

use super::Session;

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for its pod to be created.
    Pending,
    /// Its pod exists and does not run yet.
    Creating,
    /// Its runner runs.
    Running,
    /// A stop was asked for.
    Stopping,
    /// It was stopped.
    Stopped,
    /// Its runner ended well.
    Completed,
    /// Its pod or its runner failed.
    Failed,
}

/// A condition in `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation of the session that it is about.
    pub observed_generation: Option<i64>,
}

/// `spec.activeWorkflow`, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workflow {
    pub git_url: String,
    /// Branch; empty means `main`.
    pub branch: String,
    /// Directory; empty means the whole repository.
    pub path: String,
}

/// `status.reconciledWorkflow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReconciledWorkflow {
    pub git_url: String,
    pub branch: String,
    /// Directory.
    pub path: String,
    /// `Cloning`, `Active` or `Failed`.
    pub status: String,
    /// Time of the outcome, RFC 3339.
    pub applied_at: String,
}

impl Workflow {
    /// Its branch, `main` where blank.
    pub fn branch(&self) -> &str {
        reference::or_default(&self.branch)
    }
}

/// Readers of a session's fields.
pub trait SessionView {
    /// The whole of `spec` and `status`.
    fn body(&self) -> &Value;

    /// `status.phase`, if there is one.
    fn phase(&self) -> Option<Phase> {
        Phase::deserialize(&self.body()["status"]["phase"]).ok()
    }

    /// `status.startTime`, if there is one.
    fn start_time(&self) -> Option<&str> {
        self.body()["status"]["startTime"].as_str()
    }

    /// `status.observedGeneration`, if there is one.
    fn observed_generation(&self) -> Option<i64> {
        self.body()["status"]["observedGeneration"].as_i64()
    }

    /// All conditions that can be read, in their order.
    fn conditions(&self) -> Vec<Condition> {
        let conditions = self.body()["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().filter_map(|condition| Condition::deserialize(condition).ok()).collect()
    }

    fn condition(&self, r#type: &str) -> Option<Condition> {
        self.conditions().into_iter().find(|condition| condition.r#type == r#type)
    }

    fn workflow_reconciled(&self) -> Option<Condition> {
        self.condition(WORKFLOW_RECONCILED)
    }

    /// `spec.activeWorkflow`, if it names a repository.
    fn workflow(&self) -> Option<Workflow> {
        let workflow = Workflow::deserialize(&self.body()["spec"]["activeWorkflow"]).ok()?;
        (!workflow.git_url.is_empty()).then_some(workflow)
    }

    /// `status.reconciledWorkflow`, if there is one.
    fn reconciled_workflow(&self) -> Option<ReconciledWorkflow> {
        ReconciledWorkflow::deserialize(&self.body()["status"]["reconciledWorkflow"]).ok()
    }
}

impl SessionView for Session {
    fn body(&self) -> &Value {
        &self.data
    }
}

impl SessionView for Value {
    fn body(&self) -> &Value {
        self
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}/{}", self.r#type, self.status, self.reason)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, " \"{}\"", self.message) }
    }
}

/// A session in one line, for messages: its phase and conditions.
pub fn summary(session: &Session) -> String {
    let phase = session.phase().map_or_else(|| "no phase".to_owned(), |phase| format!("{phase:?}"));
    let conditions: Vec<_> = session.conditions().iter().map(ToString::to_string).collect();
    format!("session {}: {phase}; {}", session.name_any(), conditions.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_existing_settings() {
        let session = json!({
            "spec": { "activeWorkflow": { "gitUrl": "https://h/r", "path": "a" } },
            "status": {
                "phase": "Running",
                "startTime": "2026-01-01T00:00:00Z",
                "observedGeneration": 2,
                "reconciledWorkflow": { "gitUrl": "https://h/r", "branch": "main", "status": "Active" },
                "conditions": [{ "type": "Ready", "status": "True" }, { "type": "WorkflowReconciled", "status": "False", "reason": "X" }],
            },
        });
        assert_eq!(session.phase(), Some(Phase::Running));
        assert_eq!(session.start_time(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(session.observed_generation(), Some(2));
        assert_eq!(session.workflow().unwrap().branch(), "main");
        assert_eq!(session.reconciled_workflow().unwrap().status, "Active");
        assert_eq!(session.workflow_reconciled().unwrap().to_string(), "WorkflowReconciled=False/X");
    }

    #[test]
    fn nothing_reads_as_absent() {
        let session = json!({ "spec": { "activeWorkflow": { "gitUrl": "" } } });
        assert_eq!(session.phase(), None);
        assert_eq!(session.start_time(), None);
        assert_eq!(session.workflow(), None);
        assert_eq!(session.reconciled_workflow(), None);
        assert_eq!(session.conditions(), []);
    }
}
