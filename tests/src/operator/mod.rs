//! The stand-in operator: does to AgenticSessions what the platform's operator was observed to do, as far as it touches
//! the injector. It exists because the platform can't be run here; it must not be kinder to the injector than the
//! platform is.
//!
//! ```text
//!  session ──decide (pure)──> step ──reconcile (edge)──> Secret, pod (pure shape), Service
//!                                        └──status (pure)──> read, change, PUT status
//!  Running ──drift (pure)──> delivery: POST /workflow to the runner, by mode
//! ```
//!
//! It runs outside the cluster, where `http://session-NAME.NAMESPACE.svc:8001` can't be resolved: its POST goes through
//! the API server's proxy to that Service, which works on every cluster. A Service that does not exist yet is what the
//! platform's operator meets as "no such host".
//!
//! What it leaves out: S3, cloning of `spec.repos`, the session's display names and metrics.

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
mod status;

use std::time::Duration;

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::session::Session;

pub use delivery::UPDATE_FAILED;
pub use error::OperatorError;
pub use objects::limit_range;
pub use pod::{TRUSTED_CA, TRUSTED_CA_KEY};

/// Which revision of the platform's operator to stand in for: they differ in how they deliver a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The original bug: one POST, in Pending, before the pod exists. Its error is dropped, the generation is marked as
    /// observed, and nothing is ever retried.
    PostEarly,
    /// The platform as of August 2026: POSTs as soon as the session is Running, each 5 s until it is answered with 200.
    PostRunning,
    /// No delivery at all.
    Plain,
}

/// What a session's pod is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of all three containers.
    pub image: String,
    /// How long `post-running` waits between two attempts; 5 s on the platform.
    pub repost_after: Duration,
    /// `BACKEND_API_URL` of the runner and of init-hydrate.
    pub backend_api_url: String,
    /// Whether there are init-hydrate and the workspace volume: some runner kinds have neither.
    pub workspace: bool,
    /// The pod's `schedulerName`, if not the cluster's default. With one that does not exist the pod stays unscheduled,
    /// and a test can play the kubelet by writing the pod's status itself.
    pub scheduler: Option<String>,
    /// A scheduling gate of the pod, if any: the pod is not scheduled until a test removes it.
    pub scheduling_gate: Option<String>,
    /// Plays admission where the API server calls no webhook: changes a session's pod before it is created.
    pub admission: Option<fn(&Session, &mut Value) -> anyhow::Result<()>>,
    /// Whether the pod's security context is `{fsGroup: 0, …}` instead of `{}`: the platform has both.
    pub fs_group: bool,
}

impl Settings {
    /// The platform's usual settings, with this image.
    pub fn new(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            repost_after: Duration::from_secs(5),
            backend_api_url: "http://backend-service.ambient-code.svc.cluster.local:8080/api".to_owned(),
            workspace: true,
            scheduler: None,
            scheduling_gate: None,
            admission: None,
            fs_group: false,
        }
    }
}

/// The pod that the operator makes for the first run of a session, for tests of admission alone. The session must have
/// its uid and namespace.
pub fn session_pod(session: &Session, settings: &Settings) -> Value {
    pod::pod(session, &pod::PodFacts { settings, resume: false, trusted_ca: false })
}

/// An operator for the sessions of one namespace. It stops when it is dropped; what it made stays.
#[must_use = "the operator stops when it is dropped"]
pub struct StandInOperator {
    task: AbortHandle,
}

impl StandInOperator {
    /// Starts to reconcile the sessions that exist in `namespace` and all that come.
    ///
    /// Must be called inside a Tokio runtime, whose end also stops it.
    pub fn start(client: kube::Client, namespace: &str, mode: Mode, settings: Settings) -> Self {
        let reconciler = reconcile::Reconciler::new(client, namespace, mode, settings);
        Self { task: tokio::spawn(run::run(reconciler)).abort_handle() }
    }
}

impl Drop for StandInOperator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
