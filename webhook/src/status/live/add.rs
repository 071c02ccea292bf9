//! Adds the ephemeral container to a pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, runner_pod};
use workflow_contract::text;

use super::LiveDelivery;
use crate::admission::patch::live_container;
use crate::admission::plan::Plan;
use crate::config::Config;
use crate::session::AgenticSession;
use crate::status::Observe;
use crate::status::api::{WriteError, call};
use crate::status::outcome::{self, PodFacts};
use crate::status::pod::SessionPod;

/// Limit in bytes on what the API server's message contributes to a condition.
const MAX_REASON: usize = 300;

/// A running pod as the API server returned it.
pub struct RunningPod {
    pub facts: PodFacts,
    name: String,
    uid: Option<String>,
    resource_version: Option<String>,
    /// With `metadata` and `spec`.
    pod: Value,
}

/// Result of adding a container.
#[derive(Debug)]
pub enum Added {
    /// It was added; the pod is now so.
    Yes(Box<PodFacts>),
    /// The pod has changed since it was read, or is gone.
    Outdated,
    /// It will not be accepted as it is, for this reason.
    Rejected(String),
}

/// Adds containers, by the present configuration, and counts what becomes of them.
pub struct LiveDeliveries {
    client: Client,
    config: Arc<ArcSwap<Config>>,
    observe: Arc<dyn Observe>,
    /// Time of the change that each delivery under way follows, by the uid of the session.
    started: Mutex<HashMap<String, Instant>>,
}

impl LiveDeliveries {
    pub fn new(client: Client, config: Arc<ArcSwap<Config>>, observe: Arc<dyn Observe>) -> Self {
        Self { client, config, observe, started: Mutex::default() }
    }

    pub fn mode(&self) -> LiveDelivery {
        if self.config.load().live_delivery { LiveDelivery::On } else { LiveDelivery::Off }
    }

    /// Reads the session's pod; none if it does not exist or is not the session's.
    pub async fn read(&self, session: &AgenticSession) -> Result<Option<RunningPod>, WriteError> {
        let name = runner_pod(&session.name_any());
        let pods = self.pods(&session.namespace().unwrap_or_default());
        let Some(pod) = call("read the session's pod", pods.get_opt(&name)).await? else { return Ok(None) };
        let is_own = |facts: &PodFacts| session.metadata.uid.as_ref() == Some(&facts.session_uid);
        let Some(facts) = facts(&pod)?.filter(is_own) else { return Ok(None) };
        let (uid, resource_version) = (pod.metadata.uid.clone(), pod.metadata.resource_version.clone());
        Ok(Some(RunningPod { facts, name, uid, resource_version, pod: serde_json::to_value(pod)? }))
    }

    /// Adds the container that delivers the session's workflow, unless the pod has changed since it was read.
    /// `since_change`: time since the change of the session's spec, if that is known.
    pub async fn add(
        &self,
        running: &RunningPod,
        session: &AgenticSession,
        since_change: Option<Duration>,
    ) -> Result<Added, WriteError> {
        let added = self.try_add(running, session).await?;
        let (namespace, session_name) = (session.namespace(), session.name_any());
        match &added {
            Added::Yes(_) => {
                let now = Instant::now();
                let start = since_change.and_then(|since| now.checked_sub(since)).unwrap_or(now);
                self.started().insert(session.uid().unwrap_or_default(), start);
                self.observe.delivered_live("added", None);
                tracing::info!(namespace, session = session_name, "ephemeral container added");
            }
            Added::Rejected(why) => {
                self.observe.delivered_live("rejected", None);
                tracing::warn!(namespace, session = session_name, why, "ephemeral container rejected");
            }
            Added::Outdated => {}
        }
        Ok(added)
    }

    async fn try_add(&self, running: &RunningPod, session: &AgenticSession) -> Result<Added, WriteError> {
        let config = self.config.load_full();
        let container = Plan::new(session).and_then(|plan| live_container(&running.pod, &plan, &config));
        let Some(container) = container else {
            let why = "its runner has no volume for workflows that another container can mount";
            return Ok(Added::Rejected(why.to_owned()));
        };
        // Uid and resourceVersion are preconditions.
        let patch = json!({
            "metadata": {"uid": running.uid, "resourceVersion": running.resource_version},
            "spec": {"ephemeralContainers": [container]},
        });
        let params = PatchParams { field_manager: Some(INJECTOR.to_owned()), ..PatchParams::default() };
        let pods = self.pods(&running.facts.namespace);
        let patch = Patch::Strategic(&patch);
        let added = pods.patch_subresource("ephemeralcontainers", &running.name, &params, &patch);
        match call("add the ephemeral container", added).await {
            Ok(pod) => Ok(facts(&pod)?.map_or(Added::Outdated, |facts| Added::Yes(Box::new(facts)))),
            Err(error) => match error.rejection() {
                Some(404 | 409) => Ok(Added::Outdated),
                Some(_) => {
                    Ok(Added::Rejected(text::cut(&text::one_line(&error.server_message()), MAX_REASON)))
                }
                None => Err(error),
            },
        }
    }

    /// Counts a delivery whose outcome was written to the session.
    pub fn record(&self, session: &AgenticSession, is_delivered: bool) {
        let started = self.started().remove(&session.uid().unwrap_or_default());
        let took = started.map(|started| started.elapsed());
        self.observe.delivered_live(if is_delivered { "delivered" } else { "failed" }, took);
    }

    /// Drops what is kept of sessions that are gone.
    pub fn prune(&self, exists: impl Fn(&str) -> bool) {
        self.started().retain(|uid, _| exists(uid));
    }

    fn started(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pods(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<SessionPod>(&()))
    }
}

fn facts(pod: &DynamicObject) -> Result<Option<PodFacts>, WriteError> {
    let pod = SessionPod {
        metadata: pod.metadata.clone(),
        spec: Option::deserialize(&pod.data["spec"])?.unwrap_or_default(),
        status: Option::deserialize(&pod.data["status"])?.unwrap_or_default(),
    };
    Ok(outcome::read(&pod))
}
