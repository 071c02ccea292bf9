//! The certificates that the webhook serves: issued here (self-managed), or read from a directory that
//! another issuer keeps (cert-manager, OpenShift).
//!
//! ```text
//!  leader:   clock, caBundle -> rotate -> state -> store -> Secret
//!  replica:  Secret -> store -> state ─┐
//!  replica:  directory -> files ──────────┴─> load -> reload (handshakes)
//! ```
//!
//! Decisions (`rotate`, `store`, `load`, `trust`) are functions of what they are given; `secret`,
//! `keeper` and `files` do the I/O. Nothing here knows of webhooks: who fills caBundle is told the
//! bundle and tells back what is in place.

pub mod facts;
pub mod files;
pub mod issue;
pub mod keeper;
pub mod load;
pub mod pair;
pub mod reload;
pub mod rotate;
pub mod secret;
pub mod state;
pub mod store;
pub mod trust;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use pair::Pair;
pub use reload::{Resolver, Serving};
pub use rotate::Lifetimes;
pub use state::State;

/// What is told about the bundle of authorities: PEM, `None` while it is not known.
pub type Bundle = Option<Arc<str>>;

/// Self-managed certificates, under way.
#[derive(Debug)]
pub struct SelfManaged {
    /// Serves the current leaf.
    pub resolver: Arc<Resolver>,
    /// The authorities that every caBundle is to hold; `None` while this replica has no say in it.
    pub bundle: watch::Receiver<Bundle>,
    /// The tasks that follow and keep the Secret; dropping them ends both.
    pub tasks: JoinSet<()>,
}

/// Starts to follow the Secret in `namespace` and, while `leading`, to keep it up to date.
/// `names` are what clients call the Service by; `in_place` tells the bundle that every webhook entry holds.
#[must_use]
pub fn self_managed(
    client: kube::Client,
    namespace: &str,
    names: Vec<String>,
    lifetimes: Lifetimes,
    leading: watch::Receiver<bool>,
    in_place: watch::Receiver<Bundle>,
) -> SelfManaged {
    let secret = secret::TlsSecret::new(client, namespace);
    let resolver = Arc::new(Resolver::default());
    let ((last, seen), (bundle, bundled)) = (watch::channel(None), watch::channel(None));
    let replica = secret::Replica { resolver: Arc::clone(&resolver), last };
    let keeper =
        keeper::Keeper { secret: secret.clone(), names, lifetimes, leading, last: seen, in_place, bundle };
    let mut tasks = JoinSet::new();
    tasks.spawn(secret.follow(replica));
    tasks.spawn(keeper.run());
    SelfManaged { resolver, bundle: bundled, tasks }
}
