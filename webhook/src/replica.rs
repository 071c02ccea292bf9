//! What a replica does beside answering: it takes part in the election, follows (and, while it
//! leads, keeps) certificates and registration, and watches and writes what became of workflows.
//!
//! Only wiring: each part decides for itself, and they hear of each other through channels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use workflow_certs::files::{Directory, POLL};
use workflow_certs::{Bundle, Lifetimes, Resolver, SelfManaged};
use workflow_contract::names::INJECTOR;

use crate::metrics::Metrics;
use crate::server::Phase;
use crate::status::{self, Observe};
use crate::trusted::{Filler, View, mistrust};
use crate::{cabundle, leader};

/// Who this replica is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Namespace of the Lease, the Secret and the Service.
    pub namespace: String,
    /// Unique among replicas: the pod's name.
    pub name: String,
}

impl Identity {
    /// From `POD_NAMESPACE` and `POD_NAME`, which the Deployment sets; outside a cluster our own
    /// namespace and the process's id.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            namespace: set("POD_NAMESPACE").unwrap_or_else(|| INJECTOR.to_owned()),
            name: set("POD_NAME").unwrap_or_else(|| format!("{INJECTOR}-{}", std::process::id())),
        }
    }

    /// The names that clients may call the Service by.
    fn service_names(&self) -> Vec<String> {
        let service = self.service_name();
        vec![format!("{service}.cluster.local"), service]
    }

    /// The name that the API server calls the Service by.
    fn service_name(&self) -> String {
        format!("{INJECTOR}.{}.svc", self.namespace)
    }
}

/// Who issues what is served.
#[derive(Debug, Clone)]
pub enum Issuer {
    /// Another, which keeps the pair in this directory.
    Other(PathBuf),
    /// We ourselves, for so long.
    Ourselves(Lifetimes),
}

/// The running parts. They end when this is dropped.
pub struct Replica {
    /// Serves the current certificate.
    pub resolver: Arc<Resolver>,
    /// The status controller, with the sessions that it watches.
    pub status: status::Handle,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    trust: Trust,
    election: JoinHandle<()>,
    tasks: JoinSet<()>,
    _certificates: JoinSet<()>,
}

impl Replica {
    /// Starts all parts. From `phases` on draining, another replica may lead.
    ///
    /// # Errors
    /// Where another issuer's directory holds no pair that can be served.
    pub fn start(
        client: &Client,
        identity: &Identity,
        issuer: Issuer,
        metrics: Arc<Metrics>,
        mut phases: watch::Receiver<Phase>,
    ) -> anyhow::Result<Self> {
        let draining = async move {
            // An error means that the process ends: then it does not lead either.
            let _ = phases.wait_for(|phase| *phase != Phase::Serving).await;
        };
        let (leading, election) =
            leader::spawn(client.clone(), &identity.namespace, &identity.name, draining);
        let status =
            status::spawn(client.clone(), leading.clone(), identity.name.clone(), Arc::new(Counted(metrics)));

        let mut tasks = JoinSet::new();
        let (in_place, held) = watch::channel(None);
        let filler = match issuer {
            Issuer::Other(_) => Filler::Issuer,
            Issuer::Ourselves(_) => Filler::Leader,
        };
        let SelfManaged { resolver, bundle, tasks: certificates } = match issuer {
            Issuer::Other(directory) => followed(&directory)?,
            Issuer::Ourselves(lifetimes) => workflow_certs::self_managed(
                client.clone(),
                &identity.namespace,
                identity.service_names(),
                lifetimes,
                leading.clone(),
                held,
            ),
        };
        let (name, namespace) = (INJECTOR.to_owned(), identity.namespace.clone());
        let (views, view) = watch::channel(None);
        tasks.spawn(cabundle::run(client.clone(), name, namespace, leading.clone(), bundle, in_place, views));
        let trust = Trust { view, served: Arc::clone(&resolver), filler, name: identity.service_name() };
        Ok(Self { resolver, status, leading, trust, election, tasks, _certificates: certificates })
    }

    /// Tells at any time whether API servers trust what is served.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// Ends all parts, once the Lease is given back.
    pub async fn shutdown(mut self) {
        // A failed election has nothing to give back.
        let _ = self.election.await;
        self.tasks.shutdown().await;
        self.status.shutdown().await;
    }
}

/// What this replica serves, beside what is registered.
#[derive(Debug, Clone)]
pub struct Trust {
    view: watch::Receiver<View>,
    served: Arc<Resolver>,
    filler: Filler,
    name: String,
}

impl Trust {
    /// Why API servers would not trust what is served at `now`, as far as is known.
    #[must_use]
    pub fn missing(&self, now: Timestamp) -> Option<String> {
        mistrust(&self.view.borrow(), &self.served, self.filler, &self.name, now)
    }
}

/// A pair that another issuer keeps in a directory.
fn followed(directory: &Path) -> anyhow::Result<SelfManaged> {
    let resolver = Arc::new(Resolver::default());
    let (sender, bundle): (_, watch::Receiver<Bundle>) = watch::channel(None);
    let directory = Directory::open(directory, Arc::clone(&resolver), sender, Timestamp::now())
        .context("failed to load the certificate that --tls-dir names")?;
    let mut tasks = JoinSet::new();
    tasks.spawn(directory.follow(POLL));
    Ok(SelfManaged { resolver, bundle, tasks })
}

/// Hands what the status controller does to the metrics.
struct Counted(Arc<Metrics>);

impl Observe for Counted {
    fn wrote(&self, reason: &str) {
        self.0.outcome(reason);
    }

    fn conflict(&self) {
        self.0.status_conflict();
    }

    fn write_failed(&self) {
        self.0.status_write_failed();
    }

    fn watch_failed(&self, resource: &'static str) {
        self.0.watch_failed(resource);
    }
}
