//! The pods of the load: what they are, how they are asked for, and what is read of the answers.
//!
//! No node takes them, so that admission is what is loaded. Of answers only what counts is decoded: the tests are
//! unoptimised programs, and share the machine with what they test.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workflow_contract::names::INIT_CONTAINER;

use crate::kubelet::NO_SCHEDULER;
use crate::operator::{Settings, session_pod};
use crate::session::Session;

use super::count::Answer;

/// Label by which pods are deleted together; the value is the second in which they were made.
const BATCH: &str = "workflow-tests/batch";
/// An image that nobody pulls.
const IMAGE: &str = "local.test/none:1";
/// After this long nobody answers any more.
const LONGEST: Duration = Duration::from_secs(30);
/// Pods that are deleted by one call.
const BITE: usize = 200;

/// A pod, as far as it counts.
#[derive(Deserialize)]
pub(super) struct Stored {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    init_containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Stored>,
}

impl Stored {
    fn is_injected(&self) -> bool {
        self.spec.init_containers.iter().any(|container| container.name == INIT_CONTAINER)
    }

    fn is_a_sessions(&self) -> bool {
        self.metadata.labels.contains_key(workflow_contract::names::SESSION_LABEL)
    }
}

/// A pod of a session, as the operator makes it, but for its name: one session has many of them at a time.
pub(super) fn of_session(session: &Session, name: &str, batch: u64) -> Value {
    let settings = Settings { scheduler: Some(NO_SCHEDULER.to_owned()), ..Settings::new(IMAGE) };
    let mut pod = session_pod(session, &settings);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["labels"][BATCH] = json!(batch.to_string());
    pod
}

/// A pod that is none of our business.
pub(super) fn of_others(name: &str, batch: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { BATCH: batch.to_string() } },
        "spec": { "schedulerName": NO_SCHEDULER, "containers": [{ "name": "main", "image": IMAGE }] },
    })
}

/// Where the pods of one namespace are.
#[derive(Clone)]
pub(super) struct Pods {
    pub client: Client,
    pub namespace: String,
}

impl Pods {
    /// Asks for a pod.
    pub async fn create(&self, pod: &Value) -> Answer {
        let request = Request::post(format!("/api/v1/namespaces/{}/pods", self.namespace))
            .header("Content-Type", "application/json")
            .body(pod.to_string().into_bytes());
        match self.ask::<Stored>(request).await {
            Ok(stored) if stored.is_injected() => Answer::Injected,
            Ok(_) => Answer::Bare,
            Err(answer) => answer,
        }
    }

    /// Deletes some of a batch, or of all: as many as can be deleted in time. Gives the names of those session pods that
    /// were stored without the init container, and whether there may be more to delete.
    pub async fn delete(&self, batch: Option<u64>) -> Result<(Vec<String>, bool), Answer> {
        let which = batch.map(|batch| format!("%3D{batch}")).unwrap_or_default();
        let request = Request::delete(format!(
            "/api/v1/namespaces/{}/pods?gracePeriodSeconds=0&limit={BITE}&labelSelector={BATCH}{which}",
            self.namespace
        ))
        .body(Vec::new());
        let deleted: List = self.ask(request).await?;
        let bare = |pod: &Stored| pod.is_a_sessions() && !pod.is_injected();
        let more = deleted.items.len() >= BITE;
        Ok((deleted.items.into_iter().filter(bare).map(|pod| pod.metadata.name).collect(), more))
    }

    async fn ask<T: DeserializeOwned>(&self, request: http::Result<Request<Vec<u8>>>) -> Result<T, Answer> {
        let request = request.map_err(|error| Answer::Unanswered(error.to_string()))?;
        match tokio::time::timeout(LONGEST, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(Answer::Refused(status.message)),
            // "Connection refused" helps where "client error" does not.
            Ok(Err(error)) => Err(Answer::Unanswered(anyhow::Error::from(error).root_cause().to_string())),
            Err(_) => Err(Answer::Unanswered(format!("no answer within {} s", LONGEST.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionBuilder;

    #[test]
    fn a_pod_tells_whose_it_is_and_whether_it_was_injected() {
        let mut session = SessionBuilder::new("s").workflow("https://h/r.git", "main").build();
        session.metadata.uid = Some("u".to_owned());
        let mut pod = of_session(&session, "s-1", 7);
        let stored: Stored = serde_json::from_value(pod.clone()).unwrap();
        assert!(stored.is_a_sessions() && !stored.is_injected());
        pod["spec"]["initContainers"].as_array_mut().unwrap().push(json!({ "name": "init-workflow" }));
        assert!(serde_json::from_value::<Stored>(pod).unwrap().is_injected());
        let other: Stored = serde_json::from_value(of_others("plain", 7)).unwrap();
        assert!(!other.is_a_sessions() && !other.is_injected());
    }
}
