//! A session pod as far as it is read here.
//!
//! A pod of the platform is some 20 KB of JSON. Decoding it into this type drops all but what an
//! outcome is made of before anything is kept. Reading is lenient, as for sessions: one odd pod
//! must not fail the whole list.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use workflow_contract::names::STAMP_ANNOTATION;

/// A pod.
#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
#[serde(default)]
pub struct SessionPod {
    /// As everywhere, but for what nobody here looks at.
    #[serde(deserialize_with = "lean_metadata")]
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: PodSpec,
    /// What became of it.
    pub status: PodStatus,
}

/// What is read of `metadata`: the managed fields alone are larger than all of this.
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

/// The only annotation that is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "workflow.ambient-code.io/injected")]
    stamp: Option<String>,
}

fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
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

/// `spec` of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// In the order in which they run.
    pub init_containers: Vec<Container>,
    /// The runner among others.
    pub containers: Vec<Container>,
}

/// A container as asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Unique in the pod.
    pub name: String,
    /// As written, not resolved.
    pub image: String,
    /// A name may occur more than once.
    pub env: Option<Vec<Variable>>,
}

/// An environment variable, without its value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// Such as `ACTIVE_WORKFLOW_GIT_URL`.
    pub name: String,
}

/// `status` of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: String,
    /// Such as Evicted.
    pub reason: String,
    /// A message about the reason.
    pub message: String,
    /// Such as `DisruptionTarget`.
    pub conditions: Vec<PodCondition>,
    /// One for each init container that the kubelet has seen.
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// One of a pod's conditions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Such as `DisruptionTarget`.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A message.
    pub message: String,
}

/// What became of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// What it is doing.
    pub state: ContainerState,
    /// How it ended the time before.
    pub last_state: ContainerState,
}

/// At most one of waiting, running and terminated; that it is running is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Not started, or to be started again.
    pub waiting: Option<Waiting>,
    /// Ended.
    pub terminated: Option<Terminated>,
}

/// Why a container is not running yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Such as `PodInitializing` or `ErrImagePull`.
    pub reason: String,
    /// The runtime's words.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// 128 + signal where a signal ended it.
    pub exit_code: i32,
    /// Such as `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it ended, by the node's clock.
    pub finished_at: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_of_the_metadata_what_is_used_and_nothing_else() {
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
