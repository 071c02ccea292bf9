//! A fake of the platform's operator: implements its observed behaviour, as far as it affects the injector. It exists
//! because the platform can't run in the tests; it must not be easier on the injector than the platform.
//!
//! ```text
//!  session --decide (pure)--> step --reconcile (API calls)--> Secret, pod (pure), Service
//!                                       `--status (pure)--> read, change, PUT status
//!  Running --drift (pure)--> delivery: POST /workflow to the runner, by mode
//! ```
//!
//! It runs outside the cluster, where `http://session-NAME.NAMESPACE.svc:8001` does not resolve: its POST goes through
//! the API server's proxy to that Service, which works on every cluster. The real operator gets "no such host" where
//! the proxy answers that the Service does not exist.
//!
//! Not included: S3, cloning of `spec.repos`, the session's display names and metrics.

mod create;
mod decide;
mod delivery;
mod drift;
mod environment;
mod error;
mod objects;
mod outcome;
mod pod;
mod reconcile;
mod run;
pub mod session;
mod status;

use std::time::Duration;

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::session::Session;

pub use delivery::{Post, PostHandler, TOKEN_HEADER};
pub use error::OperatorError;
pub use objects::limit_range;
pub use pod::{TRUSTED_CA, TRUSTED_CA_KEY};
pub use status::UPDATE_FAILED;

/// Revisions of the platform's operator, which differ in how they deliver a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The original bug. One POST in Pending, before the pod exists; its error is dropped, the generation is recorded
    /// as observed, and nothing is retried. A workflow set in a running session is POSTed without the runner's token
    /// (401), every 30 s until `reconciledWorkflow` equals the spec.
    PostEarly,
    /// The platform as of August 2026: POSTs as soon as the session is Running, every 5 s until the answer is 200.
    PostRunning,
    /// Delivers nothing.
    Plain,
}

/// Shape of the pods, timing, and replacements where a test has no node.
#[derive(Clone)]
pub struct Settings {
    /// Image of all three containers.
    pub image: String,
    /// Time between two POSTs; by default 5 s in [`Mode::PostRunning`] and 30 s in [`Mode::PostEarly`].
    pub repost_after: Option<Duration>,
    /// Time between a POST to a running session's runner and the condition: about 100 ms on the platform.
    pub condition_delay: Duration,
    /// Time until the next attempt after a resource version conflict: 5 to 30 s on the platform.
    pub conflict_retry: Duration,
    /// `BACKEND_API_URL` of the runner and of init-hydrate.
    pub backend_api_url: String,
    /// Adds init-hydrate and the workspace volume, which some kinds of runners lack.
    pub workspace: bool,
    /// The pod's `schedulerName`, if not the cluster's default. With one that does not exist the pod stays unscheduled,
    /// and a test can write the pod's status itself.
    pub scheduler: Option<String>,
    /// A scheduling gate of the pod, if any: the pod is not scheduled until a test removes it.
    pub scheduling_gate: Option<String>,
    /// Replaces admission where the API server calls no webhook: changes a session's pod before it is created. An
    /// error denies the pod.
    pub admission: Option<fn(&Session, &mut Value) -> anyhow::Result<()>>,
    /// Replaces the API server's proxy to the runner where no node runs it.
    pub runner: Option<PostHandler>,
    /// Sets the pod's security context to `{fsGroup: 0, ...}` instead of `{}`: the platform has both.
    pub fs_group: bool,
    /// User of all containers, and group of the volumes, as OpenShift assigns them to a namespace's pods; if none, the
    /// users of the images.
    pub user: Option<i64>,
}

impl Settings {
    /// The platform's usual settings, with this image.
    pub fn new(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            repost_after: None,
            condition_delay: Duration::from_millis(100),
            conflict_retry: Duration::from_secs(5),
            backend_api_url: "http://backend-service.ambient-code.svc.cluster.local:8080/api".to_owned(),
            workspace: true,
            scheduler: None,
            scheduling_gate: None,
            admission: None,
            runner: None,
            fs_group: false,
            user: None,
        }
    }
}

/// The pod of a session's first run, for tests of admission alone. The session must have its uid and namespace.
pub fn session_pod(session: &Session, settings: &Settings) -> Value {
    pod::pod(session, &pod::PodInputs { settings, resume: false, trusted_ca: false })
}

/// An operator for the sessions of one namespace. It stops when it is dropped; the objects that it made stay.
#[must_use = "the operator stops when it is dropped"]
pub struct FakeOperator {
    task: AbortHandle,
}

impl FakeOperator {
    /// Starts to reconcile the sessions in `namespace`.
    ///
    /// Must be called inside a Tokio runtime, whose end also stops it.
    pub fn start(client: kube::Client, namespace: &str, mode: Mode, settings: Settings) -> Self {
        let reconciler = reconcile::Reconciler::new(client, namespace, mode, settings);
        Self { task: tokio::spawn(run::run(reconciler)).abort_handle() }
    }
}

impl Drop for FakeOperator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
