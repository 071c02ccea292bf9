//! Watches sessions and pods, and runs a worker for each session: one step at a time, with backoff after failures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, SESSION_LABEL};

use crate::session::Session;

use crate::error::is_conflict;
use crate::reconcile::{Next, Reconciler};

/// The first backoff; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest backoff.
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// An event of the watches.
enum Change {
    /// A session was created or changed.
    Session { name: String, signature: Signature },
    /// A session was deleted.
    Gone(String),
    /// The pod of this session changed.
    Pod(String),
    /// The watch of pods was restarted and may have missed changes.
    AllPods,
}

/// Reconciles until the task is aborted, which ends all workers.
pub(crate) async fn run(reconciler: Reconciler) {
    let sessions = watch(reconciler.sessions.clone(), watcher::Config::default()).default_backoff();
    let labels = watcher::Config::default().labels(&format!("{APP_LABEL}={APP_LABEL_VALUE}"));
    let pods = watch(reconciler.pods.clone(), labels).default_backoff();
    let mut changes = stream::select(
        sessions.filter_map(async |event| event.map(of_session).transpose()).boxed(),
        pods.filter_map(async |event| event.map(of_pod).transpose()).boxed(),
    );
    let mut workers =
        Workers { reconciler: Arc::new(reconciler), tasks: JoinSet::new(), by_session: HashMap::new() };
    while let Some(change) = changes.next().await {
        match change {
            Ok(Change::Session { name, signature }) => workers.start_or_wake(name, signature),
            Ok(Change::Gone(session)) => workers.forget(&session),
            Ok(Change::Pod(session)) => workers.wake(&session),
            Ok(Change::AllPods) => workers.wake_all(),
            Err(error) => tracing::warn!(%error, "watch failed, restarting"),
        }
    }
}

fn of_session(event: Event<Session>) -> Option<Change> {
    match event {
        Event::Apply(session) | Event::InitApply(session) => {
            Some(Change::Session { name: session.name_any(), signature: Signature::of(&session) })
        }
        Event::Delete(session) => Some(Change::Gone(session.name_any())),
        Event::Init | Event::InitDone => None,
    }
}

fn of_pod(event: Event<Pod>) -> Option<Change> {
    match event {
        Event::Apply(pod) | Event::Delete(pod) => pod.labels().get(SESSION_LABEL).cloned().map(Change::Pod),
        Event::InitDone => Some(Change::AllPods),
        Event::Init | Event::InitApply(_) => None,
    }
}

/// The parts of a session whose change wakes the operator. A change of the status alone does not.
#[derive(PartialEq, Eq)]
struct Signature {
    uid: Option<String>,
    generation: Option<i64>,
    annotations: BTreeMap<String, String>,
    deleted: bool,
}

impl Signature {
    fn of(session: &Session) -> Self {
        Self {
            uid: session.uid(),
            generation: session.metadata.generation,
            annotations: session.annotations().clone(),
            deleted: session.metadata.deletion_timestamp.is_some(),
        }
    }
}

struct Worker {
    signature: Signature,
    wake: Arc<Notify>,
    task: AbortHandle,
}

struct Workers {
    reconciler: Arc<Reconciler>,
    /// Aborted when the operator stops and this is dropped.
    tasks: JoinSet<()>,
    by_session: HashMap<String, Worker>,
}

impl Workers {
    fn start_or_wake(&mut self, name: String, signature: Signature) {
        match self.by_session.get_mut(&name) {
            Some(worker) if worker.signature == signature => (),
            Some(worker) => {
                worker.signature = signature;
                worker.wake.notify_one();
            }
            None => {
                let wake = Arc::new(Notify::new());
                let work = work(Arc::clone(&self.reconciler), name.clone(), Arc::clone(&wake));
                let task = self.tasks.spawn(work);
                self.by_session.insert(name, Worker { signature, wake, task });
            }
        }
    }

    fn wake(&self, session: &str) {
        if let Some(worker) = self.by_session.get(session) {
            worker.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for worker in self.by_session.values() {
            worker.wake.notify_one();
        }
    }

    fn forget(&mut self, session: &str) {
        if let Some(worker) = self.by_session.remove(session) {
            worker.task.abort();
        }
    }
}

async fn work(reconciler: Arc<Reconciler>, session: String, wake: Arc<Notify>) {
    let mut failures = 0;
    loop {
        let next = match Box::pin(reconciler.reconcile(&session)).await {
            Ok(next) => {
                failures = 0;
                next
            }
            Err(error) => {
                let delay = if is_conflict(&error) {
                    reconciler.settings.conflict_retry
                } else {
                    retry_delay(failures)
                };
                failures += 1;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(session, %error, cause, ?delay, "step failed, retrying");
                Next::After(delay)
            }
        };
        match next {
            Next::Again => (),
            Next::Wait => wake.notified().await,
            Next::After(delay) => {
                tokio::select! {
                    () = wake.notified() => (),
                    () = tokio::time::sleep(delay) => (),
                }
            }
        }
    }
}

/// Backoff after a failure that followed `failures` others.
fn retry_delay(failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LAST_RETRY)
}
