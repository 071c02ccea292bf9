//! AgenticSession as far as it is read here. The CRD is the platform's.
//!
//! Reading is lenient (every field may be absent), because one session that can't be decoded would
//! fail a whole list. Nothing is ever written through these types: a status is written as the JSON
//! that was read, so that fields unknown here survive.

mod names;
mod prompt;
mod trimmed;

use jiff::Timestamp;
use kube::CustomResource;
use serde::{Deserialize, Deserializer, Serialize};
use workflow_contract::Source;
use workflow_contract::names::{INJECT_ANNOTATION, OPT_OUT};

pub use names::Names;
pub use prompt::{FORCE_PROMPT_ANNOTATION, RUNNER_STARTED, never_ran, prompt_will_be_skipped};
pub use trimmed::TrimmedSession;

/// `spec` of an AgenticSession.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vteam.ambient-code",
    version = "v1alpha1",
    kind = "AgenticSession",
    plural = "agenticsessions",
    shortname = "as",
    namespaced,
    status = "SessionStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct AgenticSessionSpec {
    /// The workflow that the session asks for.
    pub active_workflow: Option<ActiveWorkflow>,
    /// The author's own variables; only their names matter here.
    pub environment_variables: Option<Names>,
}

/// `spec.activeWorkflow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActiveWorkflow {
    /// URL of the repository.
    #[serde(deserialize_with = "or_default")]
    pub git_url: String,
    /// Branch, `main` where blank.
    pub branch: Option<String>,
    /// Directory, the whole repository where blank.
    pub path: Option<String>,
}

/// `status` of an AgenticSession.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionStatus {
    /// Pending, Creating, Running, Stopping, Stopped, Completed or Failed.
    pub phase: Option<String>,
    /// Start of the current run; rewritten at each one.
    #[serde(deserialize_with = "lenient_time", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// What the operator's drift check compares with the spec.
    pub reconciled_workflow: Option<ReconciledWorkflow>,
    /// A plain list, atomic for the API server; order and unknown entries belong to the operator.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// `status.reconciledWorkflow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReconciledWorkflow {
    /// Byte for byte as in the spec.
    #[serde(deserialize_with = "or_default")]
    pub git_url: String,
    /// As in the spec, `main` where blank.
    #[serde(deserialize_with = "or_default")]
    pub branch: String,
    /// Byte for byte as in the spec, absent where the spec has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Cloning, Active or Failed.
    pub status: Option<String>,
    /// Time of the outcome.
    #[serde(deserialize_with = "lenient_time", skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
}

/// One of `status.conditions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Such as `WorkflowReconciled`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub type_: String,
    /// True, False or Unknown.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
    /// One word.
    pub reason: Option<String>,
    /// A message.
    pub message: Option<String>,
    /// When the status last changed.
    #[serde(deserialize_with = "lenient_time", skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Generation of the session that this is about.
    pub observed_generation: Option<i64>,
}

impl AgenticSession {
    /// The requested workflow: none without `activeWorkflow` or with an empty URL.
    #[must_use]
    pub fn workflow(&self) -> Option<&ActiveWorkflow> {
        self.spec.active_workflow.as_ref().filter(|workflow| !workflow.git_url.is_empty())
    }

    /// Whether the session is left to the platform's own delivery.
    #[must_use]
    pub fn opted_out(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(INJECT_ANNOTATION)).is_some_and(|value| value == OPT_OUT)
    }

    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl ReconciledWorkflow {
    /// The source in the form in which it is compared.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::new(&self.git_url, &self.branch, self.path.as_deref().unwrap_or_default())
    }
}

impl ActiveWorkflow {
    /// The source in the form in which it is compared.
    #[must_use]
    pub fn source(&self) -> Source {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Source::new(&self.git_url, &text(&self.branch), &text(&self.path))
    }
}

/// Whether a text can be the name of an object such as a session or a Secret (a DNS subdomain). What
/// cannot is never looked up: API servers do not check an ownerReference's name, and with a `/` in it a
/// request would have another path.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// `null` counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A text that is no time counts as absent: the CRD need not say that these are times.
fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_session_with_nothing_in_it_with_nulls_and_with_odd_times() {
        let bare: AgenticSession =
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {}})).unwrap();
        assert_eq!((bare.workflow(), &bare.status), (None, &None));
        let nulls = serde_json::json!({
            "metadata": {},
            "spec": {"activeWorkflow": {"gitUrl": null}, "environmentVariables": null},
            "status": {"conditions": null, "reconciledWorkflow": {"gitUrl": null, "branch": null}},
        });
        let nulls: AgenticSession = serde_json::from_value(nulls).unwrap();
        assert_eq!((nulls.workflow(), nulls.condition("Ready")), (None, None));
        let status = serde_json::json!({
            "startTime": "2026-01-02T03:04:05Z",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "", "extra": 1}],
            "reconciledWorkflow": {"gitUrl": "u", "branch": "b", "appliedAt": "yesterday"},
        });
        let status: SessionStatus = serde_json::from_value(status).unwrap();
        assert_eq!(status.start_time, "2026-01-02T03:04:05Z".parse().ok());
        assert_eq!(status.conditions[0].last_transition_time, None);
        assert_eq!(status.reconciled_workflow.unwrap().applied_at, None);
    }
}
