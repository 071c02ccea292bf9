//! Runs the controller: its watches, and the queue of sessions to reconcile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{StreamExt, stream};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef, Store};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;

use super::api::WriteError;
use super::apply::StatusWriter;
use super::cache::{ClusterCache, SyncState};
use super::{Observe, watch};
use crate::config as settings;
use crate::session::AgenticSession;

/// Sessions written at the same time; each of them is written by one task only.
const CONCURRENCY: u16 = 16;

/// Period of the full pass over all sessions.
const FULL_PASS: Duration = Duration::from_mins(5);

/// The running controller. It ends when this is dropped.
pub struct Handle {
    /// Trimmed copies of all sessions, kept up to date.
    pub sessions: Store<AgenticSession>,
    /// True if the caches are synced.
    pub synced: channel::Receiver<SyncState>,
    cache: Arc<ClusterCache>,
    tasks: JoinSet<()>,
}

impl Handle {
    /// Number of init containers that are waiting or running in the cache.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.cache.fetching()
    }

    /// [`Handle::fetching`] for metrics that outlive the handle.
    pub fn fetching_gauge(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let cache = Arc::clone(&self.cache);
        move || cache.fetching()
    }

    /// Ends the controller. A write under way is cancelled; the next leader finds out whether it succeeded.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts the controller on the current runtime. It watches at once, and writes while `leader` is true.
/// `instance` is the name of this replica's pod, for Events; `config` is what containers are built from that deliver
/// into running sessions.
#[must_use]
pub fn spawn(
    client: Client,
    leader: channel::Receiver<bool>,
    instance: String,
    config: Arc<ArcSwap<settings::Config>>,
    observe: Arc<dyn Observe>,
) -> Handle {
    let (sessions, store) = reflector::store();
    let (changes, queue) = mpsc::unbounded_channel();
    let cache = Arc::new(ClusterCache::new(sessions.clone(), changes.clone(), Arc::clone(&observe)));
    let synced = cache.subscribe();
    let writer =
        StatusWriter::new(client.clone(), Arc::clone(&cache), leader.clone(), instance, config, observe);
    let writer = Arc::new(writer);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch::pods(client.clone(), Arc::clone(&cache)));
    tasks.spawn(watch::sessions(client.clone(), store, Arc::clone(&cache)));
    tasks.spawn(watch::registration(client, Arc::clone(&cache)));
    tasks.spawn(reconcile_queued(Arc::clone(&writer), sessions.clone(), queue));
    tasks.spawn(enqueue_due(writer, Arc::clone(&cache), leader, changes));
    Handle { sessions, synced, cache, tasks }
}

/// Reconciles each queued session: many at a time, but each by one task only.
async fn reconcile_queued(
    writer: Arc<StatusWriter>,
    sessions: Store<AgenticSession>,
    mut queue: mpsc::UnboundedReceiver<ObjectRef<AgenticSession>>,
) {
    let queue = stream::poll_fn(move |context| queue.poll_recv(context));
    let reconcile = |session: Arc<AgenticSession>, writer: Arc<StatusWriter>| {
        Box::pin(async move {
            let pause = writer.reconcile(&session).await?;
            Ok(pause.map_or_else(Action::await_change, Action::requeue))
        })
    };
    let on_error = |session: Arc<AgenticSession>, error: &WriteError, writer: Arc<StatusWriter>| {
        Action::requeue(writer.pause_after_failure(&session, error))
    };
    let config = Config::default().concurrency(CONCURRENCY);
    applier(reconcile, on_error, writer, sessions, queue.map(Ok::<_, Infallible>), config)
        // Errors are logged by `on_error`; a session that is gone needs nothing.
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Queues the sessions that are due when this replica becomes leader, when the caches become synced,
/// when the registration changes, and periodically.
async fn enqueue_due(
    writer: Arc<StatusWriter>,
    cache: Arc<ClusterCache>,
    mut leader: channel::Receiver<bool>,
    queue: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
) {
    let mut synced = cache.subscribe();
    let mut full_pass = tokio::time::interval(FULL_PASS);
    loop {
        let takes_over = tokio::select! {
            changed = leader.changed() => if changed.is_err() { return } else { true },
            changed = synced.changed() => if changed.is_err() { return } else { true },
            _ = full_pass.tick() => {
                cache.prune();
                writer.prune();
                false
            }
        };
        if writer.is_leader() {
            let is_due = |session: &AgenticSession| {
                let pending = takes_over && writer.enqueue_recent_events(session);
                writer.is_due(session) || pending
            };
            for session in cache.sessions.state_filter(is_due) {
                // Fails only while the process ends.
                let _ = queue.send(ObjectRef::from_obj(&*session));
            }
        }
    }
}
