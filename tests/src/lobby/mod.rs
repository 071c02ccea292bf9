//! Sessions of the stand-in operator while the injector and the API server come and go: their pods wait for a node
//! until a test gives them one, so that many can be looked at and few really run.
//!
//! All calls are made again while the API server is away: what is judged is what becomes of the sessions.

mod judge;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use workflow_contract::names::runner_pod;
use workflow_git_server::Repository;

use crate::delivered::{self, Tree};
use crate::load::names_us;
use crate::namespace::TestNamespace;
use crate::operator::Mode;
use crate::session::{self, Phase, Session, SessionBuilder, SessionView};
use crate::stage::Stage;
use crate::wait::{PATIENCE, until};

/// The directory of the repository's name.
const FLOW: &str = "flow";

/// What a session is to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Its workflow is there.
    Workflow,
    /// Its branch is misspelt.
    Misspelt,
}

/// Sessions that wait.
pub struct Lobby {
    stage: Stage,
    repository: Repository,
    tree: Tree,
    refused: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    watch: JoinHandle<()>,
}

impl Drop for Lobby {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Lobby {
    /// Opens it in this namespace.
    pub async fn open(namespace: TestNamespace) -> anyhow::Result<Self> {
        let client = namespace.cluster.client.clone();
        let stage = Stage::without_a_scheduler(namespace, Mode::PostRunning).await?;
        let repository = stage.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        let refused = Arc::default();
        let sessions = session::api(client, &stage.namespace.name);
        let watch = tokio::spawn(note_refusals(sessions, Arc::clone(&refused)));
        Ok(Self { tree: delivered::expected(&repository, "main")?, repository, stage, refused, watch })
    }

    /// Creates a session, as its user does.
    pub async fn create(&self, name: &str, wish: Wish) -> anyhow::Result<()> {
        let branch = if wish == Wish::Workflow { "main" } else { "mian" };
        persistently("create a session", || async {
            let session = SessionBuilder::new(name).workflow(self.repository.url(), branch);
            match self.stage.create(session).await {
                Err(error) if is(&error, 409) => Ok(()),
                made => made.map(drop),
            }
        })
        .await
    }

    /// Waits until the session's pod waits for a node and the session says so. Gives what is wrong with them.
    pub async fn waits(&self, name: &str) -> anyhow::Result<Vec<String>> {
        self.stage
            .session_until(name, "a pod that waits", |session| {
                let reason = session.workflow_reconciled().unwrap_or_default().reason;
                session.phase() == Some(Phase::Creating) && reason == "Fetching"
            })
            .await?;
        let pod = persistently("read a session's pod", || async {
            let path = format!("/api/v1/namespaces/{}/pods/{}", self.namespace(), runner_pod(name));
            Ok(self.client().request::<Value>(Request::get(path).body(Vec::new())?).await?)
        })
        .await?;
        Ok(judge::pod(&pod))
    }

    /// Gives the session's pod a node and waits for what comes of it. Gives what is wrong with that.
    pub async fn runs(&self, name: &str, wish: Wish) -> anyhow::Result<Vec<String>> {
        persistently("bind a pod", || async {
            let pod = runner_pod(name);
            let nodes = Api::<Node>::all(self.client().clone()).list(&ListParams::default()).await?;
            let node = nodes.items.first().context("the cluster has no node")?.name_any();
            let target = json!({ "apiVersion": "v1", "kind": "Node", "name": node });
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod }, "target": target,
            });
            let path = format!("/api/v1/namespaces/{}/pods/{pod}/binding", self.namespace());
            let request = Request::post(path).header("Content-Type", "application/json");
            match self.client().request::<Value>(request.body(binding.to_string().into_bytes())?).await {
                // It has one already.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                bound => Ok(bound.map(drop)?),
            }
        })
        .await?;
        let (phase, reason) = match wish {
            Wish::Workflow => (Phase::Running, "Reconciled"),
            Wish::Misspelt => (Phase::Failed, "RefNotFound"),
        };
        let session = self
            .stage
            .session_until(name, "its end", |session| {
                let said = session.workflow_reconciled().unwrap_or_default();
                session.phase() == Some(phase) && !matches!(said.reason.as_str(), "" | "Fetching")
            })
            .await?;
        let mut wrong = judge::condition(&session.workflow_reconciled().unwrap_or_default(), reason);
        if wish == Wish::Workflow {
            let runner = self.stage.runner(name);
            let record = persistently("ask the runner", || runner.record()).await?;
            wrong
                .extend(judge::record(&record, delivered::found(&record, FLOW).as_ref() == Some(&self.tree)));
        }
        Ok(wrong)
    }

    /// Removes a session, and waits until its pod is gone.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        persistently("delete a session", || async {
            match self.stage.sessions().delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                deleted => Ok(deleted.map(drop)?),
            }
        })
        .await?;
        let pods: Api<Pod> = self.stage.pods();
        until(&pods, &runner_pod(name), "the pod to go", PATIENCE, |pod| pod.is_none()).await.map(drop)
    }

    /// The sessions whose pod was refused in words that name our webhook, and when that was first seen.
    pub fn refused(&self) -> BTreeMap<String, Timestamp> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client(&self) -> &Client {
        &self.stage.namespace.cluster.client
    }

    fn namespace(&self) -> &str {
        &self.stage.namespace.name
    }
}

async fn note_refusals(sessions: Api<Session>, refused: Arc<Mutex<BTreeMap<String, Timestamp>>>) {
    let mut changes = watcher(sessions, Config::default()).default_backoff().applied_objects().boxed();
    loop {
        // Errors of a watch pass.
        let Some(session) = changes.try_next().await.unwrap_or_default() else { continue };
        let created = session.condition("PodCreated").unwrap_or_default();
        if created.status == "False" && names_us(&created.message) {
            let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.entry(session.name_any()).or_insert_with(Timestamp::now);
        }
    }
}

fn is(error: &anyhow::Error, code: u16) -> bool {
    let error = error.downcast_ref::<kube::Error>();
    error.is_some_and(|error| matches!(error, kube::Error::Api(status) if status.code == code))
}

/// Makes a call until it succeeds.
async fn persistently<T, F>(what: &'static str, call: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let limit = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if Instant::now() > limit => return Err(error).context(what),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            done => return done,
        }
    }
}
