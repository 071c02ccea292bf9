//! The environment of an end-to-end test: a namespace, a git server that its pods trust, and an operator.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use workflow_contract::names::runner_pod;
use workflow_git_server::{GitServer, Settings as GitSettings};

use crate::images;
use crate::namespace::TestNamespace;
use crate::operator::{FakeOperator, Mode, Settings};
use crate::runner::Runner;
use crate::session::{self, Condition, Session, SessionBuilder, SessionView};
use crate::wait::{self, TIMEOUT};

/// Scheduling gate of pods that wait for a test.
const GATE: &str = "workflow-tests/hold";

/// A namespace in which sessions become pods.
pub struct TestEnv {
    pub namespace: TestNamespace,
    /// A git server that session pods reach and trust.
    pub git: GitServer,
    _operator: FakeOperator,
}

impl TestEnv {
    /// Starts an operator of this mode, and a git server.
    pub async fn new(namespace: TestNamespace, mode: Mode) -> anyhow::Result<Self> {
        Self::with_git(namespace, mode, |settings| settings).await
    }

    /// As [`new`](Self::new), with a git server that has more than open repositories.
    pub async fn with_git(
        namespace: TestNamespace,
        mode: Mode,
        adjust: impl FnOnce(GitSettings) -> GitSettings,
    ) -> anyhow::Result<Self> {
        Self::start(namespace, mode, adjust, Settings::new(&images::session_runner()?)).await
    }

    /// As [`new`](Self::new), but a scheduling gate holds the session pods until a test removes it.
    pub async fn with_held_pods(namespace: TestNamespace, mode: Mode) -> anyhow::Result<Self> {
        let scheduling_gate = Some(GATE.to_owned());
        let settings = Settings { scheduling_gate, ..Settings::new(&images::session_runner()?) };
        Self::start(namespace, mode, |git| git, settings).await
    }

    /// As [`new`](Self::new), but the session pods have this user, as OpenShift assigns it.
    pub async fn with_user(namespace: TestNamespace, mode: Mode, user: i64) -> anyhow::Result<Self> {
        let settings = Settings { user: Some(user), ..Settings::new(&images::session_runner()?) };
        Self::start(namespace, mode, |git| git, settings).await
    }

    async fn start(
        namespace: TestNamespace,
        mode: Mode,
        adjust: impl FnOnce(GitSettings) -> GitSettings,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        namespace.cluster.require_injector().await?;
        let address = namespace.cluster.git_server_address()?;
        let git = GitServer::start(&adjust(GitSettings::on(address)))?;
        namespace.trust(git.ca_pem()).await?;
        let operator = FakeOperator::start(namespace.cluster.client.clone(), &namespace.name, mode, settings);
        Ok(Self { namespace, git, _operator: operator })
    }

    /// The namespace's sessions.
    pub fn sessions(&self) -> Api<Session> {
        session::api(self.namespace.cluster.client.clone(), &self.namespace.name)
    }

    /// The namespace's pods.
    pub fn pods(&self) -> Api<Pod> {
        self.namespace.api()
    }

    /// Creates a session.
    pub async fn create(&self, session: SessionBuilder) -> anyhow::Result<Session> {
        self.sessions().create(&PostParams::default(), &session.build()).await.context("create the session")
    }

    /// Waits until `holds` is true of the session. `what` completes the message "waited for ...".
    pub async fn session_until(
        &self,
        name: &str,
        what: &str,
        holds: impl FnMut(&Session) -> bool,
    ) -> anyhow::Result<Session> {
        self.session_within(TIMEOUT, name, what, holds).await
    }

    /// As [`session_until`](Self::session_until), with another limit.
    pub async fn session_within(
        &self,
        limit: Duration,
        name: &str,
        what: &str,
        holds: impl FnMut(&Session) -> bool,
    ) -> anyhow::Result<Session> {
        wait::until_exists(&self.sessions(), name, what, limit, holds).await
    }

    /// Waits until the session's condition has this reason, and returns the session.
    pub async fn until_reason(&self, name: &str, reason: &str) -> anyhow::Result<Session> {
        let has_reason = |condition: Condition| condition.reason == reason;
        self.session_until(name, reason, |session| session.workflow_reconciled().is_some_and(has_reason))
            .await
    }

    /// The present pod of a session.
    pub async fn pod(&self, session: &str) -> anyhow::Result<Pod> {
        self.pods().get(&runner_pod(session)).await.context("read the session's pod")
    }

    /// Deletes a session and its pod, and waits until the pod is gone, so that its resources are free again.
    pub async fn delete(&self, session: &str) -> anyhow::Result<()> {
        self.sessions().delete(session, &DeleteParams::default()).await.context("delete the session")?;
        let pod = runner_pod(session);
        match self.pods().delete(&pod, &DeleteParams::default().grace_period(0)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted.context("delete the session's pod")?),
        }
        wait::until(&self.pods(), &pod, "deletion of the pod", TIMEOUT, |pod| pod.is_none()).await.map(drop)
    }

    pub fn runner(&self, session: &str) -> Runner {
        Runner::of(self.namespace.cluster.client.clone(), &self.namespace.name, session)
    }
}
