//! A session without what is not read here, left out while it is decoded.
//!
//! Admission reads one for each pod, and the status controller keeps thousands. An object's managed fields alone are
//! larger than all that is read, and a list decoded with them would leave its memory with the process for good.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_contract::names::INJECT_ANNOTATION;

use super::prompt::{FORCE_PROMPT_ANNOTATION, POD_SCHEDULED, RUNNER_STARTED};
use super::{AgenticSession, AgenticSessionSpec, SessionStatus};

/// Conditions that the status controller or admission read.
const CONDITIONS: [&str; 5] = [WORKFLOW_RECONCILED, "Ready", "PodCreated", RUNNER_STARTED, POD_SCHEDULED];

/// A session without the metadata, annotations and conditions that are not read here.
#[derive(Debug, Clone)]
pub struct TrimmedSession(pub AgenticSession);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
    spec: AgenticSessionSpec,
    status: Option<SessionStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    annotations: Option<Annotations>,
}

/// The annotations that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "workflow.ambient-code.io/inject")]
    inject: Option<String>,
    #[serde(rename = "ambient-code.io/force-execute-prompt")]
    force_prompt: Option<String>,
}

impl<'de> Deserialize<'de> for TrimmedSession {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata, spec, mut status } = Object::deserialize(deserializer)?;
        let Annotations { inject, force_prompt } = metadata.annotations.unwrap_or_default();
        let kept = [(INJECT_ANNOTATION, inject), (FORCE_PROMPT_ANNOTATION, force_prompt)];
        let annotations: BTreeMap<_, _> =
            kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if let Some(status) = &mut status {
            status.conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
            status.conditions.shrink_to_fit();
        }
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            generation: metadata.generation,
            resource_version: metadata.resource_version,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        };
        Ok(Self(AgenticSession { metadata, spec, status }))
    }
}

impl Resource for TrimmedSession {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        AgenticSession::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        AgenticSession::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        AgenticSession::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        AgenticSession::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(json: &Value) -> AgenticSession {
        serde_json::from_str::<TrimmedSession>(&json.to_string()).unwrap().0
    }

    #[test]
    fn keeps_what_is_looked_at_as_it_was_and_no_value_of_a_variable() {
        let whole = json!({
            "apiVersion": "vteam.ambient-code/v1alpha1",
            "kind": "AgenticSession",
            "metadata": {
                "name": "s", "namespace": "n", "uid": "u", "generation": 3, "resourceVersion": "7",
                "labels": {"a": "b"}, "managedFields": [{"fieldsV1": {"f:spec": {}}}],
                "annotations": {"a": "b", INJECT_ANNOTATION: "false"},
            },
            "spec": {
                "activeWorkflow": {"gitUrl": "g", "branch": "b", "path": "p", "future": 1},
                "environmentVariables": {"TOKEN": "hunter2", "OTHER": {"of": "any kind"}},
                "repos": [{"url": "r"}],
            },
            "status": {
                "phase": "Running", "startTime": "2026-01-02T03:04:05Z",
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}, {"type": "RunnerStarted"}],
            },
        });
        let full: AgenticSession = serde_json::from_value(whole.clone()).unwrap();
        let lean = read(&whole);
        assert_eq!((&lean.spec, lean.opted_out()), (&full.spec, true));
        assert_eq!(lean.condition("Ready"), full.condition("Ready"));
        assert_eq!(lean.status.as_ref().unwrap().start_time, full.status.as_ref().unwrap().start_time);
        assert_eq!(lean.status.as_ref().unwrap().conditions.len(), 2);
        let kept = ObjectMeta { labels: None, managed_fields: None, ..full.metadata };
        let annotations = Some([(INJECT_ANNOTATION.to_owned(), "false".to_owned())].into());
        assert_eq!(lean.metadata, ObjectMeta { annotations, ..kept });
        assert!(!serde_json::to_string(&lean).unwrap().contains("hunter2"));
    }

    #[test]
    fn reads_a_session_with_nothing_in_it_and_with_nulls() {
        for json in [
            json!({}),
            json!({"metadata": {"annotations": null}, "spec": {"environmentVariables": null}, "status": null}),
            json!({"metadata": {}, "spec": {}, "status": {"conditions": null}}),
        ] {
            let session = read(&json);
            assert_eq!((session.workflow(), session.condition("Ready")), (None, None));
        }
    }
}
