//! The pods of the load, their creation and deletion.
//!
//! They are never scheduled, so that only admission is loaded. Only the needed fields of responses are decoded: tests are
//! unoptimized programs that share the machine with the program under test.

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

use super::report::Response;

/// Label of pods that are deleted together; the value is the second in which they were created.
const BATCH: &str = "workflow-tests/batch";
/// An image that is never pulled.
const IMAGE: &str = "local.test/none:1";
/// Longer than any timeout of the API server.
const TIMEOUT: Duration = Duration::from_secs(30);
/// LoadPods that are deleted by one request.
const BATCH_LIMIT: usize = 200;

/// The fields of a pod that are evaluated.
#[derive(Deserialize)]
pub(super) struct LoadPod {
    metadata: LoadPodMetadata,
    spec: LoadPodSpec,
}

#[derive(Deserialize)]
struct LoadPodMetadata {
    name: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoadPodSpec {
    #[serde(default)]
    init_containers: Vec<LoadPodContainer>,
}

#[derive(Deserialize)]
struct LoadPodContainer {
    name: String,
}

#[derive(Deserialize)]
struct List {
    items: Vec<LoadPod>,
}

impl LoadPod {
    fn is_injected(&self) -> bool {
        self.spec.init_containers.iter().any(|container| container.name == INIT_CONTAINER)
    }

    fn is_session_pod(&self) -> bool {
        self.metadata.labels.contains_key(workflow_contract::names::SESSION_LABEL)
    }
}

/// A pod of a session, as the operator creates it, with another name: a session has many of them at a time.
pub(super) fn of_session(session: &Session, name: &str, batch: u64) -> Value {
    let settings = Settings { scheduler: Some(NO_SCHEDULER.to_owned()), ..Settings::new(IMAGE) };
    let mut pod = session_pod(session, &settings);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["labels"][BATCH] = json!(batch.to_string());
    pod
}

/// A pod that does not concern the injector.
pub(super) fn other(name: &str, batch: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { BATCH: batch.to_string() } },
        "spec": { "schedulerName": NO_SCHEDULER, "containers": [{ "name": "main", "image": IMAGE }] },
    })
}

/// The pods of one namespace.
#[derive(Clone)]
pub(super) struct LoadPods {
    pub client: Client,
    pub namespace: String,
}

impl LoadPods {
    pub async fn create(&self, pod: &Value) -> Response {
        let request = Request::post(format!("/api/v1/namespaces/{}/pods", self.namespace))
            .header("Content-Type", "application/json")
            .body(pod.to_string().into_bytes());
        match self.send::<LoadPod>(request).await {
            Ok(stored) if stored.is_injected() => Response::Injected,
            Ok(_) => Response::NotInjected,
            Err(response) => response,
        }
    }

    /// Deletes up to [`BATCH_LIMIT`] pods of a batch, or of all batches. Returns the names of session pods that were stored
    /// without the init container, and whether more pods may be left.
    pub async fn delete(&self, batch: Option<u64>) -> Result<(Vec<String>, bool), Response> {
        let which = batch.map(|batch| format!("%3D{batch}")).unwrap_or_default();
        let request = Request::delete(format!(
            "/api/v1/namespaces/{}/pods?gracePeriodSeconds=0&limit={BATCH_LIMIT}&labelSelector={BATCH}{which}",
            self.namespace
        ))
        .body(Vec::new());
        let deleted: List = self.send(request).await?;
        let not_injected = |pod: &LoadPod| pod.is_session_pod() && !pod.is_injected();
        let more = deleted.items.len() >= BATCH_LIMIT;
        Ok((deleted.items.into_iter().filter(not_injected).map(|pod| pod.metadata.name).collect(), more))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: http::Result<Request<Vec<u8>>>,
    ) -> Result<T, Response> {
        let request = request.map_err(|error| Response::NoResponse(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(kube::Error::Api(status))) => Err(Response::Rejected(status.message)),
            // The root cause ("connection refused") is more specific than the outer error ("client error").
            Ok(Err(error)) => Err(Response::NoResponse(anyhow::Error::from(error).root_cause().to_string())),
            Err(_) => Err(Response::NoResponse(format!("no response within {} s", TIMEOUT.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionBuilder;

    #[test]
    fn recognizes_session_pods_and_injected_pods() {
        let mut session = SessionBuilder::new("s").workflow("https://h/r.git", "main").build();
        session.metadata.uid = Some("u".to_owned());
        let mut pod = of_session(&session, "s-1", 7);
        let stored: LoadPod = serde_json::from_value(pod.clone()).unwrap();
        assert!(stored.is_session_pod() && !stored.is_injected());
        pod["spec"]["initContainers"].as_array_mut().unwrap().push(json!({ "name": "init-workflow" }));
        assert!(serde_json::from_value::<LoadPod>(pod).unwrap().is_injected());
        let plain: LoadPod = serde_json::from_value(other("plain", 7)).unwrap();
        assert!(!plain.is_session_pod() && !plain.is_injected());
    }
}
