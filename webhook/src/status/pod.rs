//! A session pod, trimmed to the fields that an outcome depends on.
//!
//! A pod of the platform is some 20 KB of JSON; other fields are dropped while it is decoded. Decoding
//! is lenient, because one odd pod must not fail the whole list.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;

use crate::kube::metadata;

#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
#[serde(default)]
pub struct SessionPod {
    #[serde(deserialize_with = "metadata::trimmed")]
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    pub ephemeral_containers: Vec<EphemeralContainer>,
}

/// An ephemeral container with what identifies a delivery of ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EphemeralContainer {
    pub name: String,
    /// As in the spec, not resolved.
    pub image: String,
    pub env: Vec<PlainVariable>,
    pub volume_mounts: Vec<VolumeMount>,
}

/// An environment variable; without a value if it refers to one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PlainVariable {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    pub mount_path: String,
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
    pub container_statuses: Vec<ContainerStatus>,
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
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

/// At most one of waiting, running and terminated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub waiting: Option<Waiting>,
    pub running: Option<Running>,
    pub terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Such as `PodInitializing` or `ErrImagePull`.
    pub reason: String,
    pub message: String,
}

/// The container runs; since when is not read.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Running {}

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
