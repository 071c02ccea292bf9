//! What a test of the operator alone works on: a namespace whose pods stay unscheduled, and a hand that plays the
//! kubelet. The injector is left out: sessions opt out of it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use workflow_contract::names::runner_pod;

use crate::kubelet::{self, NO_SCHEDULER};
use crate::namespace::TestNamespace;
use crate::operator::{Mode, Settings, StandInOperator};
use crate::session::{self, Phase, Session, SessionBuilder, SessionView};
use crate::wait::{PATIENCE, until_exists};

/// Name of the session that the helpers speak of.
pub const SESSION: &str = "s";

/// A namespace with an operator whose pods stay unscheduled.
pub struct Desk {
    /// The namespace.
    pub namespace: TestNamespace,
    /// Its sessions.
    pub sessions: Api<Session>,
    /// Its pods.
    pub pods: Api<Pod>,
    _operator: StandInOperator,
}

impl Desk {
    /// Lays out a desk with an operator of this mode.
    pub fn new(namespace: TestNamespace, mode: Mode) -> Self {
        let client = namespace.cluster.client.clone();
        let settings =
            Settings { scheduler: Some(NO_SCHEDULER.to_owned()), ..Settings::new("local.test/none:1") };
        Self {
            sessions: session::api(client.clone(), &namespace.name),
            pods: namespace.api(),
            _operator: StandInOperator::start(client, &namespace.name, mode, settings),
            namespace,
        }
    }

    /// Creates a session.
    pub async fn create(&self, session: SessionBuilder) -> anyhow::Result<Session> {
        Ok(self.sessions.create(&PostParams::default(), &session.without_injection().build()).await?)
    }

    /// Waits until the session is in this phase.
    pub async fn in_phase(&self, phase: Phase) -> anyhow::Result<Session> {
        let what = format!("phase {phase:?}");
        until_exists(&self.sessions, SESSION, &what, PATIENCE, |session| session.phase() == Some(phase)).await
    }

    /// Waits for a pod of the session that has another uid than this.
    pub async fn pod_other_than(&self, uid: Option<&str>) -> anyhow::Result<Pod> {
        let is_new =
            |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && pod.metadata.uid.as_deref() != uid;
        until_exists(&self.pods, &runner_pod(SESSION), "a new pod", PATIENCE, is_new).await
    }

    /// Lets the pod run, and waits until the session is Running.
    pub async fn run(&self) -> anyhow::Result<Session> {
        self.in_phase(Phase::Creating).await?;
        kubelet::report(&self.pods, &runner_pod(SESSION), &kubelet::running()).await?;
        self.in_phase(Phase::Running).await
    }

    /// Annotates the session.
    pub async fn annotate(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { name: value } } }));
        self.sessions.patch(SESSION, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}
