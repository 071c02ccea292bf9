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
//! the proxy reports that the Service does not exist.
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
mod settings;
mod status;

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::session::Session;

pub use delivery::TOKEN_HEADER;
pub use error::OperatorError;
pub use objects::limit_range;
pub use pod::{TRUSTED_CA, TRUSTED_CA_KEY};
pub use settings::{Mode, Post, PostHandler, Settings};
pub use status::UPDATE_FAILED;

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
