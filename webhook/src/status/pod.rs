//! A session pod, trimmed to the fields that an outcome depends on.
//!
//! A pod of the platform is some 20 KB of JSON; other fields are dropped while it is decoded. Decoding
//! is lenient, because one odd pod must not fail the whole list.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use workflow_contract::names::STAMP_ANNOTATION;

#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
#[serde(default)]
pub struct SessionPod {
    #[serde(deserialize_with = "trimmed_metadata")]
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// The fields of `metadata` that are read; the managed fields alone are larger than all of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    owner_references: Option<Vec<OwnerReference>>,
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "workflow.ambient-code.io/injected")]
    stamp: Option<String>,
}

fn trimmed_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(deserializer)?;
    let stamp = read.annotations.and_then(|annotations| annotations.stamp);
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        owner_references: read.owner_references,
        annotations: stamp.map(|stamp| [(STAMP_ANNOTATION.to_owned(), stamp)].into()),
        ..ObjectMeta::default()
    })
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    pub name: String,
    /// As in the spec, not resolved.
    pub image: String,
    /// A name may occur more than once.
    pub env: Option<Vec<Variable>>,
}

/// An environment variable, without its value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: String,
    /// Such as Evicted.
    pub reason: String,
    pub message: String,
    pub conditions: Vec<PodCondition>,
    /// One for each init container that the kubelet has registered.
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Such as `DisruptionTarget`.
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub state: ContainerState,
    /// State before the last restart.
    pub last_state: ContainerState,
}

/// At most one of waiting, running and terminated; running is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub waiting: Option<Waiting>,
    pub terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Such as `PodInitializing` or `ErrImagePull`.
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// 128 + signal after a signal.
    pub exit_code: i32,
    /// Such as `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// By the node's clock.
    pub finished_at: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_the_metadata_that_is_used() {
        let pod: SessionPod = serde_json::from_value(serde_json::json!({"metadata": {
            "name": "n", "resourceVersion": "7", "managedFields": [{"manager": "kubelet"}], "labels": {"a": "b"},
            "annotations": {STAMP_ANNOTATION: "stamp", "other": "value"},
        }}))
        .unwrap();
        let kept = ObjectMeta {
            name: Some("n".into()),
            resource_version: Some("7".into()),
            annotations: Some([(STAMP_ANNOTATION.to_owned(), "stamp".to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(pod.metadata, kept);
    }
}
