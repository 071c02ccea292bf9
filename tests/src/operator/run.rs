//! Watches sessions and pods, and gives each session a worker: one step at a time, later and later after failures.

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

use super::reconcile::{Next, Reconciler};

/// The first wait after a failure; it doubles with each one that follows.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// What the watches tell.
enum Change {
    /// A session came or changed.
    Session { name: String, seen: Signature },
    /// A session is gone.
    Gone(String),
    /// Something about the pod of this session changed.
    Pod(String),
    /// The watch of pods began anew: whatever it missed can't be told from what it saw.
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
            Ok(Change::Session { name, seen }) => workers.start_or_wake(name, seen),
            Ok(Change::Gone(session)) => workers.forget(&session),
            Ok(Change::Pod(session)) => workers.wake(&session),
            Ok(Change::AllPods) => workers.wake_all(),
            Err(error) => tracing::warn!(%error, "watch failed, trying again"),
        }
    }
}

fn of_session(event: Event<Session>) -> Option<Change> {
    match event {
        Event::Apply(session) | Event::InitApply(session) => {
            Some(Change::Session { name: session.name_any(), seen: Signature::of(&session) })
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

/// What of a session wakes the operator. Its status is not among it: a change to the status alone goes unnoticed.
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
    seen: Signature,
    wake: Arc<Notify>,
    task: AbortHandle,
}

struct Workers {
    reconciler: Arc<Reconciler>,
    /// Dropped with everything else when the operator stops, which aborts them.
    tasks: JoinSet<()>,
    by_session: HashMap<String, Worker>,
}

impl Workers {
    fn start_or_wake(&mut self, name: String, seen: Signature) {
        match self.by_session.get_mut(&name) {
            Some(worker) if worker.seen == seen => (),
            Some(worker) => {
                worker.seen = seen;
                worker.wake.notify_one();
            }
            None => {
                let wake = Arc::new(Notify::new());
                let work = work(Arc::clone(&self.reconciler), name.clone(), Arc::clone(&wake));
                let task = self.tasks.spawn(work);
                self.by_session.insert(name, Worker { seen, wake, task });
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
                let delay = retry_delay(failures);
                failures += 1;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(session, %error, cause, ?delay, "step failed, trying again");
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

/// How long to wait after a failure that `failures` others went before.
fn retry_delay(failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::SessionBuilder;

    #[test]
    fn waits_twice_as_long_after_each_failure() {
        let waits: Vec<_> = [0, 1, 2, 17, 18, 1000].map(|failures| retry_delay(failures).as_millis()).into();
        assert_eq!(waits, [5, 10, 20, 655_360, 1_000_000, 1_000_000]);
    }

    #[test]
    fn a_change_of_status_alone_does_not_wake_it() {
        let before = SessionBuilder::new("s").build();
        let mut after = before.clone();
        after.data["status"] = json!({ "phase": "Running" });
        after.metadata.resource_version = Some("2".to_owned());
        assert!(Signature::of(&before) == Signature::of(&after));
        after.metadata.generation = Some(2);
        assert!(Signature::of(&before) != Signature::of(&after));
    }
}
