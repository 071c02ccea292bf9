//! Acts as operator and kubelet where there is neither, one step at a time: sessions and pods are created, changed and
//! deleted exactly when a test does it.

use anyhow::Context;
use jiff::{Timestamp, Unit};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use workflow_contract::names::{INIT_CONTAINER, INJECTOR, STAMP_ANNOTATION, runner_pod};
use workflow_contract::{Source, Stamp};

use crate::cluster::Cluster;
use crate::namespace::TestNamespace;
use crate::operator::Settings;
use crate::session::{self, Session};
use crate::{kubelet, operator};

/// Image of the init container; never pulled.
const IMAGE: &str = "workflow-tests/init-fetcher:none";

/// Operator and kubelet of one namespace, driven by a test.
#[derive(Clone)]
pub struct ManualOperator {
    namespace: TestNamespace,
}

/// Registers a webhook without rules: the controller writes sessions that begin after it.
pub async fn register(client: Client) -> anyhow::Result<()> {
    let registration: MutatingWebhookConfiguration =
        serde_json::from_value(json!({ "metadata": { "name": INJECTOR }, "webhooks": [] }))?;
    match Api::all(client).create(&PostParams::default(), &registration).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).context("register the webhook"),
    }
}

/// Deletes the registration.
pub async fn unregister(client: Client) -> anyhow::Result<()> {
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client);
    match registrations.delete(INJECTOR, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        gone => gone.map(drop).context("unregister the webhook"),
    }
}

impl ManualOperator {
    pub fn new(namespace: TestNamespace) -> Self {
        Self { namespace }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.namespace.cluster
    }

    pub fn namespace(&self) -> &TestNamespace {
        &self.namespace
    }

    /// The namespace's sessions.
    pub fn sessions(&self) -> Api<Session> {
        session::api(self.namespace.cluster.client.clone(), &self.namespace.name)
    }

    /// The namespace's pods.
    pub fn pods(&self) -> Api<Pod> {
        self.namespace.api()
    }

    pub async fn create(&self, session: Session) -> anyhow::Result<Session> {
        self.sessions().create(&PostParams::default(), &session).await.context("create the session")
    }

    /// Takes a session to phase Creating, as the operator does: startTime, the pod after admission, the phase.
    pub async fn begin(&self, session: Session) -> anyhow::Result<Session> {
        let session = self.create(session).await?;
        let start = Timestamp::now().round(Unit::Second)?;
        self.set_status(&session.name_any(), json!({ "phase": "Pending", "startTime": start })).await?;
        self.create_pod(&session).await?;
        self.set_status(&session.name_any(), json!({ "phase": "Creating" })).await
    }

    /// Replaces fields of a session's status.
    pub async fn set_status(&self, name: &str, status: Value) -> anyhow::Result<Session> {
        let patch = Patch::Merge(json!({ "status": status }));
        let patched = self.sessions().patch_status(name, &PatchParams::default(), &patch).await;
        patched.with_context(|| format!("change the status of {name}"))
    }

    /// Creates the session's pod as it is after admission.
    pub async fn create_pod(&self, session: &Session) -> anyhow::Result<Pod> {
        self.create_this_pod(session, injected_pod(session)?).await
    }

    /// Creates the session's pod without admission.
    pub async fn create_bare_pod(&self, session: &Session) -> anyhow::Result<Pod> {
        self.create_this_pod(session, operator::session_pod(session, &Settings::new(IMAGE))).await
    }

    async fn create_this_pod(&self, session: &Session, pod: Value) -> anyhow::Result<Pod> {
        let pod = self.pods().create(&PostParams::default(), &serde_json::from_value(pod)?).await;
        pod.with_context(|| format!("create the pod of {}", session.name_any()))
    }

    /// Reports the init container's state, as the kubelet does.
    pub async fn report(&self, session: &str, phase: &str, state: Value) -> anyhow::Result<()> {
        let status = json!({ "phase": phase, "initContainerStatuses": [{
            "name": INIT_CONTAINER, "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] });
        let reported = kubelet::report(&self.pods(), &runner_pod(session), &status).await;
        reported.map(drop).with_context(|| format!("report the state of {session}'s init container"))
    }

    /// Fails the session, as the operator does when its pod failed: phase, Ready message, deletion of the pod.
    pub async fn note_failure(&self, name: &str, note: &str) -> anyhow::Result<()> {
        let session = self.sessions().get(name).await?;
        let mut conditions = session.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .push(json!({ "type": "Ready", "status": "False", "reason": "PodFailed", "message": note }));
        self.set_status(name, json!({ "phase": "Failed", "conditions": conditions })).await?;
        self.delete_pod(name).await
    }

    /// Ends the init container with this code, reason and termination message.
    pub async fn end(&self, session: &str, code: i32, reason: &str, message: &str) -> anyhow::Result<()> {
        let now = Timestamp::now().round(Unit::Second)?;
        let phase = if code == 0 { "Running" } else { "Failed" };
        let state = json!({ "terminated": {
            "exitCode": code, "reason": reason, "message": message, "startedAt": now, "finishedAt": now,
        } });
        self.report(session, phase, state).await
    }

    /// Deletes the session's pod without grace period.
    pub async fn delete_pod(&self, session: &str) -> anyhow::Result<()> {
        let deleted =
            self.pods().delete(&runner_pod(session), &DeleteParams::default().grace_period(0)).await;
        deleted.map(drop).with_context(|| format!("delete the pod of {session}"))
    }
}

/// A session's pod after admission.
pub fn injected_pod(session: &Session) -> anyhow::Result<Value> {
    let mut pod = operator::session_pod(session, &Settings::new(IMAGE));
    inject(session, &mut pod)?;
    Ok(pod)
}

/// Adds the init container and the stamp to a session's pod, as far as the status controller reads them.
pub fn inject(session: &Session, pod: &mut Value) -> anyhow::Result<()> {
    let workflow = &session.data["spec"]["activeWorkflow"];
    let text = |key: &str| workflow[key].as_str().unwrap_or_default();
    let stamp = Stamp {
        source: Source::new(text("gitUrl"), text("branch"), text("path")),
        generation: session.metadata.generation.unwrap_or_default(),
        session_uid: session.uid().unwrap_or_default(),
        image: IMAGE.to_owned(),
    };
    pod["metadata"]["annotations"] = json!({ STAMP_ANNOTATION: stamp.to_annotation()? });
    let init = pod["spec"]["initContainers"].as_array_mut().context("a session pod has init containers")?;
    init.push(json!({ "name": INIT_CONTAINER, "image": IMAGE }));
    Ok(())
}
