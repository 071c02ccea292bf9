//! The background work of a replica: election, certificates, registration and the status controller.
//!
//! Starts the parts and connects them by channels.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use kube::Client;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use workflow_certs::{CertSource, Clock, Fault, Lifetimes, Resolver, Serving, files};
use workflow_contract::names::INJECTOR;

use crate::config::Config;
use crate::kube::leader;
use crate::metrics::Metrics;
use crate::registration::ca_bundle;
use crate::registration::readiness::{CaBundleOwner, TrustCheck};
use crate::server::ServerPhase;
use crate::status::{self, Observe};

#[derive(Debug, Clone)]
pub struct Identity {
    /// Namespace of the Lease, the Secret and the Service.
    pub namespace: String,
    /// Unique among replicas: the pod's name.
    pub name: String,
}

impl Identity {
    /// Reads `POD_NAMESPACE` and `POD_NAME`, which the Deployment sets. Outside a cluster these are our own namespace and
    /// the process id.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            namespace: set("POD_NAMESPACE").unwrap_or_else(|| INJECTOR.to_owned()),
            name: set("POD_NAME").unwrap_or_else(|| format!("{INJECTOR}-{}", std::process::id())),
        }
    }

    fn service_names(&self) -> Vec<String> {
        let service = self.service_name();
        vec![format!("{service}.cluster.local"), service]
    }

    /// The name by which API servers reach the Service.
    fn service_name(&self) -> String {
        format!("{INJECTOR}.{}.svc", self.namespace)
    }
}

/// The issuer of the serving certificate.
#[derive(Debug, Clone)]
pub enum Issuer {
    /// Another one, which maintains the pair in this directory.
    Other(PathBuf),
    /// Our leader, with these lifetimes.
    SelfManaged(Lifetimes),
}

/// The running parts; they end when this is dropped.
pub struct Replica {
    pub resolver: Arc<Resolver>,
    pub status: status::Handle,
    pub leading: watch::Receiver<bool>,
    pub certificates: CertHealth,
    pub trust: TrustCheck,
    election: JoinHandle<()>,
    tasks: JoinSet<()>,
    _certificates: JoinSet<()>,
}

impl Replica {
    /// Starts all parts. Once `phases` is draining, another replica may lead.
    ///
    /// Fails if the directory of another issuer holds no pair that can be served.
    pub fn start(
        client: &Client,
        clock: &Clock,
        identity: &Identity,
        issuer: Issuer,
        config: Arc<ArcSwap<Config>>,
        metrics: Arc<Metrics>,
        mut phases: watch::Receiver<ServerPhase>,
    ) -> anyhow::Result<Self> {
        let draining = async move {
            // An error means that the process ends.
            let _ = phases.wait_for(|phase| *phase != ServerPhase::Serving).await;
        };
        let (leading, election) =
            leader::spawn(client.clone(), &identity.namespace, &identity.name, draining);
        let (instance, observe) = (identity.name.clone(), Arc::new(Counted(metrics)));
        let status = status::spawn(client.clone(), leading.clone(), instance, config, observe);

        let (in_place, in_place_changes) = watch::channel(None);
        let owner = match issuer {
            Issuer::Other(_) => CaBundleOwner::Issuer,
            Issuer::SelfManaged(_) => CaBundleOwner::Leader,
        };
        let CertSource { resolver, bundle, faults, tasks: certificates } = match issuer {
            Issuer::Other(directory) => files::follow(&directory, clock.clone())
                .context("failed to load the certificate of --tls-dir")?,
            Issuer::SelfManaged(lifetimes) => workflow_certs::self_managed(
                client.clone(),
                clock.clone(),
                &identity.namespace,
                identity.service_names(),
                lifetimes,
                leading.clone(),
                in_place_changes,
            ),
        };
        let (name, namespace) = (INJECTOR.to_owned(), identity.namespace.clone());
        let (views, view) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(ca_bundle::run(
            client.clone(),
            name,
            namespace,
            leading.clone(),
            bundle,
            in_place,
            views,
        ));
        let (served, clock) = (Arc::clone(&resolver), clock.clone());
        let trust =
            TrustCheck { view, resolver: served, clock: clock.clone(), owner, name: identity.service_name() };
        let health = CertHealth { resolver: Arc::clone(&resolver), clock, faults };
        Ok(Self {
            resolver,
            status,
            leading,
            certificates: health,
            trust,
            election,
            tasks,
            _certificates: certificates,
        })
    }

    /// Ends all parts, once the Lease is released.
    pub async fn shutdown(mut self) {
        // A failed election has no Lease to release.
        let _ = self.election.await;
        self.tasks.shutdown().await;
        self.status.shutdown().await;
    }
}

/// The state of the serving certificate for readiness and metrics.
#[derive(Debug, Clone)]
pub struct CertHealth {
    resolver: Arc<Resolver>,
    clock: Clock,
    faults: Vec<watch::Receiver<Fault>>,
}

impl CertHealth {
    /// Returns the reason why handshakes fail now.
    pub fn error(&self) -> Option<String> {
        let error = match self.resolver.serving(self.clock.now()) {
            Serving::Until(_) => return None,
            Serving::Nothing => "no certificate loaded yet".to_owned(),
            Serving::Invalid(error) => error.to_string(),
        };
        Some(std::iter::once(error).chain(self.faults()).collect::<Vec<_>>().join("; "))
    }

    /// Reports whether the certificate is valid and the source of certificates has no fault.
    pub fn is_current(&self) -> bool {
        self.error().is_none() && self.faults().next().is_none()
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        self.faults.iter().filter_map(|fault| fault.borrow().clone())
    }
}

/// Counts the work of the status controller.
struct Counted(Arc<Metrics>);

impl Observe for Counted {
    fn wrote(&self, reason: &str) {
        self.0.outcome(reason);
    }

    fn reported(&self, took: Option<Duration>, lag: Duration) {
        self.0.reported(took, lag);
    }

    fn conflict(&self) {
        self.0.status_conflict();
    }

    fn write_failed(&self) {
        self.0.status_write_failed();
    }

    fn delivered_live(&self, outcome: &'static str, took: Option<Duration>) {
        self.0.delivered_live(outcome, took);
    }

    fn watch_failed(&self, resource: &'static str) {
        self.0.watch_failed(resource);
    }
}
