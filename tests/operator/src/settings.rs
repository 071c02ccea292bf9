//! The revision of the operator, and what tests choose.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use crate::session::Session;

/// Revisions of the platform's operator, which differ in how they deliver a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The original bug. One POST in Pending, before the pod exists; its error is dropped, the generation is recorded
    /// as observed, and nothing is retried. A workflow set in a running session is POSTed without the runner's token
    /// (401), every 30 s until `reconciledWorkflow` equals the spec.
    PostEarly,
    /// The platform as of August 2026: POSTs as soon as the session is Running, every 5 s until the response is 200.
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

/// A POST to `/workflow` of a session's runner.
#[derive(Clone, Debug)]
pub struct Post {
    pub session: String,
    /// The runner's token. [`Mode::PostEarly`] sends none.
    pub token: Option<String>,
    /// JSON: gitUrl, branch, path.
    pub body: String,
}

/// Handles a [`Post`]; the error is the reason why the connection failed.
pub type PostHandler = Arc<dyn Fn(Post) -> BoxFuture<'static, Result<StatusCode, String>> + Send + Sync>;
