//! Environment of the status controller's tests: a namespace on an API server without nodes, and replicas.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::bail;
use arc_swap::ArcSwap;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::{MutexGuard, watch};
use workflow_contract::names::INJECTOR;
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Source, Termination};
use workflow_injector::config::Config;
use workflow_injector::status::{self, Handle, Observe};
use workflow_tests::api_server;
use workflow_tests::faults::Faults;
use workflow_tests::manual_operator::{self, ManualOperator};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::{self, Condition, Session, SessionBuilder, SessionView};
use workflow_tests::wait::{self, TIMEOUT};

pub const URL: &str = "https://git.example/o/r.git";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The API server and a namespace, for one test.
pub struct StatusEnv {
    pub client: Client,
    pub manual: ManualOperator,
    _turn: MutexGuard<'static, ()>,
}

/// One replica of the controller.
pub struct Replica {
    handle: Handle,
    leader: watch::Sender<bool>,
    counted: Arc<WriteCounters>,
}

#[derive(Default)]
struct WriteCounters {
    written: AtomicUsize,
    conflicts: AtomicUsize,
    failures: AtomicUsize,
}

impl Observe for WriteCounters {
    fn wrote(&self, _: &str) {
        self.written.fetch_add(1, Ordering::SeqCst);
    }

    fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::SeqCst);
    }

    fn write_failed(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }
}

impl StatusEnv {
    /// Takes the API server for one test, without the sessions and pods of earlier ones.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        let (cluster, turn) = api_server::exclusive().await?;
        let client = cluster.client.clone();
        remove_sessions(&client).await?;
        manual_operator::register(client.clone()).await?;
        let manual = ManualOperator::new(TestNamespace::named(cluster, name).await?);
        Ok(Self { client, manual, _turn: turn })
    }

    /// The same API server, with another namespace.
    pub fn on(self, manual: ManualOperator) -> Self {
        Self { manual, ..self }
    }

    /// Installs the platform's CRD if it is missing.
    pub async fn install_crd(&self) -> anyhow::Result<()> {
        self.manual.cluster().ensure_crd().await
    }

    /// Starts a replica and waits until it has synced.
    pub async fn replica(&self, leads: bool) -> anyhow::Result<Replica> {
        Replica::start(self.client.clone(), leads).await
    }

    /// As [`replica`](Self::replica), with inactive faults on its connection to the API server.
    pub async fn replica_with_faults(&self, leads: bool) -> anyhow::Result<(Replica, Faults)> {
        let mut config = api_server::server()?.config().await?;
        config.default_retry = false;
        let (client, faults) = Faults::client(config)?;
        Ok((Replica::start(client, leads).await?, faults))
    }

    /// Waits until new objects are younger than the registration, to the second.
    pub async fn until_younger_than_registration(&self) -> anyhow::Result<()> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let registered =
            registrations.get(INJECTOR).await?.creation_timestamp().map(|time| time.0.as_second());
        while Some(jiff::Timestamp::now().as_second()) <= registered {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Reasons of all Events on this session.
    pub async fn events(&self, session: &str) -> anyhow::Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.manual.namespace().name);
        let on_it =
            |event: &Event| event.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(session);
        let events = events.list(&ListParams::default()).await?.items.into_iter().filter(on_it);
        Ok(events.filter_map(|event| event.reason).collect())
    }

    /// Waits for an Event with this reason on this session, and returns the reasons of all.
    pub async fn until_event(&self, session: &str, reason: &str) -> anyhow::Result<Vec<String>> {
        let waited = async {
            loop {
                let reasons = self.events(session).await?;
                if reasons.iter().any(|one| one == reason) {
                    return anyhow::Ok(reasons);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, waited).await?
    }

    /// Waits until the session's condition has this reason.
    pub async fn reason(&self, session: &str, reason: &str) -> anyhow::Result<Condition> {
        let what = format!("{session} to be {reason}");
        let holds = |session: &Session| session.workflow_reconciled().is_some_and(|c| c.reason == reason);
        let session = wait::until_exists(&self.manual.sessions(), session, &what, TIMEOUT, holds).await?;
        Ok(session.workflow_reconciled().unwrap_or_default())
    }

    /// Waits until `holds` is true of all these sessions.
    pub async fn all(
        &self,
        mut names: HashSet<String>,
        holds: impl Fn(&Session) -> bool,
    ) -> anyhow::Result<()> {
        let config = watcher::Config::default();
        let mut sessions =
            watcher(self.manual.sessions(), config).default_backoff().applied_objects().boxed();
        let wait = async {
            while !names.is_empty() {
                if let Some(session) = sessions.try_next().await.unwrap_or_default()
                    && holds(&session)
                {
                    names.remove(&session.name_any());
                }
            }
        };
        if tokio::time::timeout(TIMEOUT, wait).await.is_err() {
            let session = names.iter().next().cloned().unwrap_or_default();
            let last = self.manual.sessions().get(&session).await?;
            bail!("{} sessions are not as expected; one is {:?}", names.len(), last.data["status"]);
        }
        Ok(())
    }

    /// Waits for the condition of a new session: all earlier writes have been made by then.
    pub async fn sync_marker(&self, marker: &str) -> anyhow::Result<()> {
        self.manual.begin(session(marker)).await?;
        self.reason(marker, "Fetching").await.map(drop)
    }
}

impl Replica {
    async fn start(client: Client, leads: bool) -> anyhow::Result<Self> {
        Self::start_with(client, leads, Arc::default()).await
    }

    /// The same, with this configuration.
    pub async fn start_with(
        client: Client,
        leads: bool,
        config: Arc<ArcSwap<Config>>,
    ) -> anyhow::Result<Self> {
        let counted = Arc::new(WriteCounters::default());
        let (leader, leading) = watch::channel(leads);
        let observe: Arc<dyn Observe> = Arc::<WriteCounters>::clone(&counted);
        let handle = status::spawn(client, leading, "test".to_owned(), config, observe);
        let mut synced = handle.synced.clone();
        tokio::time::timeout(TIMEOUT, synced.wait_for(|state| state.is_complete())).await??;
        Ok(Self { handle, leader, counted })
    }

    /// Waits until it has received all earlier changes of pods; no init container may be running.
    pub async fn until_synced(&self, env: &StatusEnv) -> anyhow::Result<()> {
        env.manual.begin(session("marker")).await?;
        let received = async {
            while self.handle.fetching() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        Ok(tokio::time::timeout(TIMEOUT, received).await?)
    }

    pub fn lead(&self, leads: bool) {
        self.leader.send_replace(leads);
    }

    pub fn written(&self) -> usize {
        self.counted.written.load(Ordering::SeqCst)
    }

    /// Number of writes, once it is at least this: a write is visible before it is counted.
    pub async fn written_by_now(&self, at_least: usize) -> usize {
        let counted = async {
            while self.written() < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // The caller compares the number.
        let _ = tokio::time::timeout(TIMEOUT, counted).await;
        self.written()
    }

    pub fn conflicts(&self) -> usize {
        self.counted.conflicts.load(Ordering::SeqCst)
    }

    pub fn failures(&self) -> usize {
        self.counted.failures.load(Ordering::SeqCst)
    }

    /// Ends it without a graceful shutdown.
    pub async fn kill(self) {
        self.handle.shutdown().await;
    }
}

/// Removes all sessions and session pods.
async fn remove_sessions(client: &Client) -> anyhow::Result<()> {
    let sessions: Api<Session> = Api::all_with(client.clone(), &session::resource());
    let pods: Api<Pod> = Api::all(client.clone());
    let everything = ListParams::default();
    // The API server responds with 429 for a moment after the CRD was created.
    let existing =
        wait::until_found("the sessions", || async { Ok(Some(sessions.list(&everything).await?)) }).await?;
    let mut namespaces: HashSet<_> = existing.iter().filter_map(Session::namespace).collect();
    namespaces.extend(pods.list(&everything).await?.iter().filter_map(Pod::namespace));
    let now = DeleteParams::default().grace_period(0);
    for namespace in namespaces {
        session::api(client.clone(), &namespace).delete_collection(&now, &everything).await?;
        Api::<Pod>::namespaced(client.clone(), &namespace).delete_collection(&now, &everything).await?;
    }
    Ok(())
}

/// A session with a workflow.
pub fn session(name: &str) -> Session {
    SessionBuilder::new(name).workflow_path(URL, "main", "a").build()
}

/// The termination message of this outcome for the workflow of [`session`].
pub fn message(exit: Exit, message: &str) -> String {
    let source = Source::new(URL, "main", "a");
    let details = Details {
        url: Some(source.git_url),
        reference: Some(source.branch),
        path: Some(source.path),
        commit: (exit == Exit::Reconciled).then(|| COMMIT.to_owned()),
        ..Details::new(exit)
    };
    Termination { message: message.to_owned(), details: Some(details) }.render()
}
