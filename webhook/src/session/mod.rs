//! AgenticSession, trimmed to the fields that are read here. The CRD is the platform's.
//!
//! Admission reads a session for each pod, and the status controller keeps thousands; other fields are dropped while
//! they are decoded. Decoding is lenient (every field may be absent), because one session that can't be decoded would
//! fail a whole list. Nothing is written through these types: a status is written as the JSON that was read, so that
//! unknown fields survive.

mod names;
mod prompt;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::{CustomResource, Resource};
use serde::{Deserialize, Deserializer, Serialize};
use workflow_contract::Source;
use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_contract::names::{INJECT_ANNOTATION, OPT_OUT};

use crate::kube::metadata;

pub use names::Names;
pub use prompt::{never_ran, prompt_will_be_skipped};

/// Condition that the operator writes once a runner runs, or when a session is stopped.
pub const RUNNER_STARTED: &str = "RunnerStarted";
/// Condition that newer operators write once a pod has a node; it is never removed.
const POD_SCHEDULED: &str = "PodScheduled";

const CONDITIONS: [&str; 5] = [WORKFLOW_RECONCILED, "Ready", "PodCreated", RUNNER_STARTED, POD_SCHEDULED];

#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = SessionResource)]
#[serde(default)]
pub struct AgenticSession {
    #[serde(deserialize_with = "metadata::trimmed")]
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    pub spec: AgenticSessionSpec,
    pub status: Option<SessionStatus>,
}

/// Names the resource; its objects are read as [`AgenticSession`].
#[derive(CustomResource, Debug, Clone, Serialize, Deserialize)]
#[kube(group = "vteam.ambient-code", version = "v1alpha1", kind = "AgenticSession", root = "SessionResource")]
#[kube(plural = "agenticsessions", namespaced, schema = "disabled")]
pub struct Untyped {}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgenticSessionSpec {
    pub active_workflow: Option<ActiveWorkflow>,
    /// The author's own variables; only their names matter here.
    pub environment_variables: Option<Names>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionStatus {
    /// Pending, Creating, Running, Stopping, Stopped, Completed or Failed.
    pub phase: Option<String>,
    /// Start of the current run; rewritten at each one.
    #[serde(deserialize_with = "lenient_time")]
    pub start_time: Option<Timestamp>,
    /// Compared with the spec by the operator's drift check.
    pub reconciled_workflow: Option<ReconciledWorkflow>,
    /// Those of [`CONDITIONS`].
    #[serde(deserialize_with = "known_conditions")]
    pub conditions: Vec<Condition>,
}

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
    pub reason: Option<String>,
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

    /// Reports whether the session is left to the platform's own delivery.
    #[must_use]
    pub fn opted_out(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(INJECT_ANNOTATION)).is_some_and(|value| value == OPT_OUT)
    }

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

/// Reports whether a text can be the name of an object such as a session or a Secret (a DNS subdomain).
///
/// Other names are never looked up: API servers do not check the name of an ownerReference, and a `/` in it would change
/// the path of a request.
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

fn known_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    let mut conditions: Vec<Condition> = or_default(deserializer)?;
    conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
    conditions.shrink_to_fit();
    Ok(conditions)
}

/// A text that is no time counts as absent: the platform's CRD may not require times here.
fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_absent_fields_nulls_and_invalid_times() {
        for bare in [serde_json::json!({}), serde_json::json!({"metadata": {}, "spec": null, "status": null})]
        {
            let bare: AgenticSession = serde_json::from_value(bare).unwrap();
            assert_eq!((bare.workflow(), &bare.status), (None, &None));
        }
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

    #[test]
    fn keeps_only_the_conditions_that_are_read_and_no_value_of_a_variable() {
        let session: AgenticSession = serde_json::from_value(serde_json::json!({
            "spec": {
                "activeWorkflow": {"gitUrl": "g", "branch": "b", "path": "p", "future": 1},
                "environmentVariables": {"TOKEN": "hunter2", "OTHER": {"of": "any kind"}},
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}, {"type": "RunnerStarted"}]},
        }))
        .unwrap();
        assert_eq!(session.status.as_ref().unwrap().conditions.len(), 2);
        assert!(session.spec.environment_variables.as_ref().unwrap().contains("OTHER"));
        assert!(!format!("{session:?}").contains("hunter2"));
    }
}
