//! Serving certificates of the webhook: issued and rotated here (self-managed), or read from a mounted
//! directory that another issuer maintains (cert-manager, OpenShift).
//!
//! ```text
//!  leader:   clock, caBundle -> rotation -> store -> Secret
//!  replica:  Secret -> store -> follower ─┐
//!  replica:  directory -> files ──────────┴─> cert -> resolver (TLS handshakes)
//! ```
//!
//! `cert`, `issue`, `rotation` and `verify` are functions of their arguments; `store`, `controller`, `follower` and
//! `files` do the I/O. The crate does not depend on webhooks: it publishes the CA bundle that clients must trust, and
//! receives the bundle that they have.

pub mod cert;
pub mod clock;
pub mod controller;
pub mod files;
pub mod follower;
pub mod issue;
pub mod resolver;
pub mod rotation;
pub mod store;
mod types;
pub mod verify;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use cert::{CertInfo, Pair};
pub use clock::Clock;
pub use resolver::{Resolver, Serving};
pub use rotation::{Lifetimes, State};
pub use types::{Bundle, Fault};

/// A running source of serving certificates.
#[derive(Debug)]
pub struct CertSource {
    /// Serves the current certificate.
    pub resolver: Arc<Resolver>,
    /// The bundle that every caBundle must hold; `None` while this replica does not maintain it.
    pub bundle: watch::Receiver<Bundle>,
    /// Faults for readiness and metrics, one receiver per part.
    pub faults: Vec<watch::Receiver<Fault>>,
    /// The tasks of this source; they end when the set is dropped.
    pub tasks: JoinSet<()>,
}

/// Starts self-managed certificates: follows the Secret in `namespace` and, while `leading`, maintains it.
///
/// `names` are the DNS names or IP addresses by which clients reach the webhook; `in_place` is the bundle that every
/// webhook entry holds.
#[must_use]
pub fn self_managed(
    client: kube::Client,
    clock: Clock,
    namespace: &str,
    names: Vec<String>,
    lifetimes: Lifetimes,
    leading: watch::Receiver<bool>,
    in_place: watch::Receiver<Bundle>,
) -> CertSource {
    let store = store::TlsSecret::new(client, namespace);
    let resolver = Arc::new(Resolver::default());
    let ((state, stored), (bundle, published)) = (watch::channel(None), watch::channel(None));
    let ((follower_fault, first), (controller_fault, second)) = (watch::channel(None), watch::channel(None));
    let follower = follower::Follower::new(Arc::clone(&resolver), clock.clone(), state, follower_fault);
    let controller = controller::CertController {
        store: store.clone(),
        clock,
        names,
        lifetimes,
        leading,
        stored,
        in_place,
        bundle,
        fault: controller_fault,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(follower.run(store));
    tasks.spawn(controller.run());
    CertSource { resolver, bundle: published, faults: vec![first, second], tasks }
}
