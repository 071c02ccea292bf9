//! The objects that a report is made of, trimmed to the fields that it shows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde::Deserialize;
use serde_json::Value;
use workflow_contract::env::WORKFLOW_SIGNERS;
use workflow_contract::names::INIT_CONTAINER;
use workflow_contract::verify::Signers;

use crate::session::AgenticSession;
use crate::status::outcome::{self, PodFacts};
use crate::status::pod::SessionPod;

/// All that is known about one session.
#[derive(Debug)]
pub struct Gathered {
    pub session: AgenticSession,
    pub registration: Registration,
    /// The pod `NAME-runner`, of any owner.
    pub pod: Option<Pod>,
    /// Events on session and pod, also of earlier ones of these names.
    pub events: Vec<Event>,
    /// Objects for which the user lacks permission.
    pub unreadable: Vec<&'static str>,
}

/// Registration of the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// The user may not read it.
    Unknown,
    Absent,
    Since(Timestamp),
}

#[derive(Debug)]
pub struct Pod {
    pub read: SessionPod,
    /// Facts for the status controller, unless the pod belongs to no session of its name.
    pub facts: Option<PodFacts>,
    pub statuses: Statuses,
    /// Rule for signatures with which the pod was injected.
    pub signers: Option<Signers>,
}

/// States of containers, init containers in the order of the spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Statuses {
    pub init_container_statuses: Vec<ContainerStatus>,
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub waiting: Option<Waiting>,
    pub running: Option<Running>,
    pub terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    pub started_at: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    pub exit_code: i32,
    /// Such as `OOMKilled`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
}

/// An Event of the core API, which has those of both API groups.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub involved_object: ObjectReference,
    pub reason: String,
    pub message: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub type_: String,
    pub count: Option<u32>,
    last_timestamp: Option<Time>,
    #[serde(rename = "eventTime")]
    occurred: Option<MicroTime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectReference {
    pub kind: String,
    pub uid: String,
}

impl Pod {
    /// Reads a pod as the API server returns it.
    ///
    /// # Errors
    /// The serde error for any other JSON.
    pub fn from_json(pod: &Value) -> Result<Self, serde_json::Error> {
        let read = SessionPod::deserialize(pod)?;
        let facts = outcome::read(&read);
        let statuses = pod.get("status").map(Statuses::deserialize).transpose()?.unwrap_or_default();
        Ok(Self { read, facts, statuses, signers: signers(pod) })
    }
}

/// Reads the rule from the init container's environment, in which the webhook doubles every `$`.
fn signers(pod: &Value) -> Option<Signers> {
    let named = |list: &Value, name: &str| list.as_array()?.iter().find(|one| one["name"] == name).cloned();
    let container = named(&pod["spec"]["initContainers"], INIT_CONTAINER)?;
    let variable = named(&container["env"], WORKFLOW_SIGNERS)?;
    Signers::from_json(&variable["value"].as_str()?.replace("$$", "$")).ok()
}

impl Event {
    /// Reads an Event as the API server returns it.
    ///
    /// # Errors
    /// The serde error for any other JSON.
    pub fn from_json(event: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(event)
    }

    /// The time of the last occurrence.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        let last = self.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| self.occurred.as_ref().map(|time| time.0))
    }
}
