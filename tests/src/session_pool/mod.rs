//! Sessions of the fake operator while the injector and the API server are disrupted. A scheduling gate holds their pods
//! until a test runs them, so that many are created and few use the node; the scheduler then places them, with regard to
//! other people's pods.
//!
//! Requests are retried while the API server is unavailable: tests assert on the ends of the sessions.

mod checks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use workflow_contract::names::runner_pod;
use workflow_git_server::Repository;

use crate::delivered::{self, Tree};
use crate::env::TestEnv;
use crate::load::names_our_webhook;
use crate::namespace::TestNamespace;
use crate::operator::Mode;
use crate::session::{self, Phase, Session, SessionBuilder, SessionView};
use crate::wait::{TIMEOUT, until};

/// Directory of the workflow: the name of the repository.
const FLOW: &str = "flow";
/// Time that a pod may wait for a node with enough capacity.
const SCHEDULING_TIMEOUT: Duration = Duration::from_secs(30);

/// The expected end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// Its workflow is delivered.
    Delivered,
    /// Its branch is not found, because it is misspelt.
    RefNotFound,
}

/// The result of running a session's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// The session reached its end, with these deviations from the expected outcome.
    Ended(Vec<String>),
    /// The pod never ran, for a reason outside the injector: no node had the capacity, or the kubelet rejected it.
    NotRun(String),
}

/// Sessions whose pods are held.
pub struct SessionPool {
    env: TestEnv,
    repository: Repository,
    tree: Tree,
    denied: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    watch: JoinHandle<()>,
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl SessionPool {
    /// Starts an operator and a git server for this namespace.
    pub async fn new(namespace: TestNamespace) -> anyhow::Result<Self> {
        let client = namespace.cluster.client.clone();
        let env = TestEnv::with_held_pods(namespace, Mode::PostRunning).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        let denied = Arc::default();
        let sessions = session::api(client, &env.namespace.name);
        let watch = tokio::spawn(record_denials(sessions, Arc::clone(&denied)));
        Ok(Self { tree: delivered::expected(&repository, "main")?, repository, env, denied, watch })
    }

    /// Creates a session.
    pub async fn create(&self, name: &str, expected: ExpectedOutcome) -> anyhow::Result<()> {
        let branch = if expected == ExpectedOutcome::Delivered { "main" } else { "mian" };
        retry("create a session", || async {
            let session = SessionBuilder::new(name).workflow(self.repository.url(), branch);
            match self.env.create(session).await {
                Err(error) if has_code(&error, 409) => Ok(()),
                created => created.map(drop),
            }
        })
        .await
    }

    /// Waits until the session's pod exists and the session's condition is Fetching. Returns the defects of the pod.
    pub async fn wait_until_held(&self, name: &str) -> anyhow::Result<Vec<String>> {
        self.env
            .session_until(name, "a pod that is held", |session| {
                let reason = session.workflow_reconciled().unwrap_or_default().reason;
                session.phase() == Some(Phase::Creating) && reason == "Fetching"
            })
            .await?;
        let pod = retry("read a session's pod", || async {
            let path = format!("/api/v1/namespaces/{}/pods/{}", self.env.namespace.name, runner_pod(name));
            let client = &self.env.namespace.cluster.client;
            Ok(client.request::<Value>(Request::get(path).body(Vec::new())?).await?)
        })
        .await?;
        Ok(checks::pod(&pod))
    }

    /// Releases the session's pod to the scheduler and waits for the end of the session's run.
    pub async fn run(&self, name: &str, expected: ExpectedOutcome) -> anyhow::Result<RunOutcome> {
        if let Some(reason) = self.schedule(name).await? {
            return Ok(RunOutcome::NotRun(reason));
        }
        let session = self
            .env
            .session_until(name, "its end", |session| {
                let reason = session.workflow_reconciled().unwrap_or_default().reason;
                let ended = matches!(session.phase(), Some(Phase::Running | Phase::Failed));
                ended && !matches!(reason.as_str(), "" | "Fetching")
            })
            .await?;
        let condition = session.workflow_reconciled().unwrap_or_default();
        if let Some(reason) = checks::rejected_by_kubelet(&session) {
            let problems = checks::condition(&condition, "Interrupted");
            let not_run = RunOutcome::NotRun(reason);
            return Ok(if problems.is_empty() { not_run } else { RunOutcome::Ended(problems) });
        }
        let (phase, reason) = match expected {
            ExpectedOutcome::Delivered => (Phase::Running, "Reconciled"),
            ExpectedOutcome::RefNotFound => (Phase::Failed, "RefNotFound"),
        };
        let mut problems = checks::condition(&condition, reason);
        if session.phase() != Some(phase) {
            problems.push(format!("phase {:?} instead of {phase:?}", session.phase()));
        } else if expected == ExpectedOutcome::Delivered {
            let runner = self.env.runner(name);
            let record = retry("read the runner's record", || runner.record()).await?;
            let has_files = delivered::found(&record, FLOW).as_ref() == Some(&self.tree);
            problems.extend(checks::record(&record, has_files));
        }
        Ok(RunOutcome::Ended(problems))
    }

    /// Deletes a session and waits until its pod is gone.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        retry("delete a session", || async {
            match self.env.sessions().delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                deleted => Ok(deleted.map(drop)?),
            }
        })
        .await?;
        until(&self.env.pods(), &runner_pod(name), "deletion of the pod", TIMEOUT, |pod| pod.is_none())
            .await
            .map(drop)
    }

    /// Sessions whose pod was denied by our webhook, with the time of the first denial.
    pub fn denied(&self) -> BTreeMap<String, Timestamp> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes the gate and waits for a node. Returns the scheduler's message where no node has the capacity.
    async fn schedule(&self, name: &str) -> anyhow::Result<Option<String>> {
        let (pods, pod): (Api<Pod>, _) = (self.env.pods(), runner_pod(name));
        let no_gates = Patch::Merge(json!({ "spec": { "schedulingGates": null } }));
        retry("remove a pod's scheduling gate", || async {
            Ok(pods.patch(&pod, &PatchParams::default(), &no_gates).await.map(drop)?)
        })
        .await?;
        let has_node = |pod: Option<&Pod>| pod.is_none_or(|pod| !checks::is_unscheduled(pod));
        let placed = until(&pods, &pod, "a node for the pod", SCHEDULING_TIMEOUT, has_node).await;
        let Err(timed_out) = placed else { return Ok(None) };
        let found = retry("read a session's pod", || async { Ok(pods.get_opt(&pod).await?) }).await?;
        match found.as_ref().and_then(checks::unschedulable) {
            Some(message) => Ok(Some(message)),
            None if found.as_ref().is_some_and(checks::is_unscheduled) => Err(timed_out),
            None => Ok(None),
        }
    }
}

async fn record_denials(sessions: Api<Session>, denied: Arc<Mutex<BTreeMap<String, Timestamp>>>) {
    let mut changes = watcher(sessions, Config::default()).default_backoff().applied_objects().boxed();
    loop {
        // The watch restarts after an error.
        let Some(session) = changes.try_next().await.unwrap_or_default() else { continue };
        let created = session.condition("PodCreated").unwrap_or_default();
        if created.status == "False" && names_our_webhook(&created.message) {
            let mut denied = denied.lock().unwrap_or_else(PoisonError::into_inner);
            denied.entry(session.name_any()).or_insert_with(Timestamp::now);
        }
    }
}

fn has_code(error: &anyhow::Error, code: u16) -> bool {
    let error = error.downcast_ref::<kube::Error>();
    error.is_some_and(|error| matches!(error, kube::Error::Api(status) if status.code == code))
}

/// Repeats a request until it succeeds.
async fn retry<T, F>(what: &'static str, request: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let limit = Instant::now() + TIMEOUT;
    loop {
        match request().await {
            Err(error) if Instant::now() > limit => return Err(error).context(what),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            done => return done,
        }
    }
}
