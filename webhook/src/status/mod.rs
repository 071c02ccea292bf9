//! The status controller: what became of a workflow reaches the session, once, and is true.
//!
//! ```text
//! pods ────────> outcome ──> pods ─┐
//!                (pure)            ├─> condition ──change──> write ──PUT status──> AgenticSession
//! sessions ────────────────────────┤   (verdict: pure)         └──> tell ──events (pure)──> Event
//! registration ────────────────────┘
//!      watch: every replica                      the one that leads
//! ```
//!
//! - `outcome` knows the kubelet's words, `verdict` the messages for people, `condition` when which
//!   of them is to be said. All three are functions of what they are given.
//! - Every replica watches and keeps the last that it saw of each session's pod, as long as the
//!   session is there. So a change of leader, a conflict or a pod that is deleted at once loses
//!   nothing, and no finalizer is needed (platform.md 10).
//! - It never asks "what happened?", only "what is there, and what does the session say?". Each
//!   news about a session, a new leader and a slow full pass all lead to that one question.
//! - It must not write anything but our condition and `reconciledWorkflow`, nor before the
//!   operator's first writes of a run, nor about runs that began before the webhook was registered.

mod api;
pub mod condition;
pub mod events;
pub mod outcome;
pub mod patience;
pub mod pod;
pub mod pods;
pub mod status_json;
pub mod verdict;
pub mod watch;
pub mod write;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef, Store};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;

use crate::session::AgenticSession;
use watch::View;
use write::{Settled, Writer};

/// Sessions written at the same time; one session never twice.
const CONCURRENCY: u16 = 16;

/// A full pass over all sessions, for whatever was missed.
const FULL_PASS: Duration = Duration::from_mins(5);

/// Told what happens, for metrics. Everything may be ignored.
pub trait Observe: Send + Sync {
    /// A condition with this reason was written.
    fn wrote(&self, _reason: &str) {}
    /// A write met somebody else's and starts over.
    fn conflict(&self) {}
    /// A write failed; it is tried again.
    fn write_failed(&self) {}
    /// A watch broke; it is taken up again.
    fn watch_failed(&self, _resource: &'static str) {}
}

/// Ignores everything.
impl Observe for () {}

/// The running controller. It ends when this is dropped.
pub struct Handle {
    /// Lean copies of all sessions, kept up to date. A session's variables have names but no values.
    pub sessions: Store<AgenticSession>,
    /// What has been seen; complete once everything that exists was.
    pub horizon: channel::Receiver<watch::Horizon>,
    view: Arc<View>,
    tasks: JoinSet<()>,
}

impl Handle {
    /// How many init containers are waiting or running, as far as this replica has seen.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.view.fetching()
    }

    /// [`Handle::fetching`], to be asked again and again without the handle.
    pub fn fetching_gauge(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let view = Arc::clone(&self.view);
        move || view.fetching()
    }

    /// Ends the controller. A write under way is cut off: it happened or it did not, and the
    /// replica that leads next finds out.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts the controller on the current runtime. It watches at once, and writes while `leader` is
/// true. `instance` signs its Events: the name of this replica's pod.
#[must_use]
pub fn spawn(
    client: Client,
    leader: channel::Receiver<bool>,
    instance: String,
    observe: Arc<dyn Observe>,
) -> Handle {
    let (sessions, store) = reflector::store();
    let (news, queue) = mpsc::unbounded_channel();
    let view = Arc::new(View::new(sessions.clone(), news.clone(), Arc::clone(&observe)));
    let horizon = view.changes();
    let writer = Writer::new(client.clone(), Arc::clone(&view), leader.clone(), instance, observe);
    let writer = Arc::new(writer);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch::pods(client.clone(), Arc::clone(&view)));
    tasks.spawn(watch::sessions(client.clone(), store, Arc::clone(&view)));
    tasks.spawn(watch::registration(client, Arc::clone(&view)));
    tasks.spawn(write_all(Arc::clone(&writer), sessions.clone(), queue));
    tasks.spawn(look_again(writer, Arc::clone(&view), leader, news));
    Handle { sessions, horizon, view, tasks }
}

/// Writes each session that there is news about: many at a time, but each one by one.
async fn write_all(
    writer: Arc<Writer>,
    sessions: Store<AgenticSession>,
    mut queue: mpsc::UnboundedReceiver<ObjectRef<AgenticSession>>,
) {
    let queue = stream::poll_fn(move |context| queue.poll_recv(context));
    let settle = |session: Arc<AgenticSession>, writer: Arc<Writer>| {
        Box::pin(async move {
            let settled = writer.settle(&session).await?;
            writer.forget_failures(session.metadata.uid.as_deref().unwrap_or_default());
            Ok(match settled {
                Settled::Done => Action::await_change(),
                Settled::Later(pause) => Action::requeue(pause),
            })
        })
    };
    applier(
        settle,
        |session: Arc<AgenticSession>, error: &api::WriteError, writer: Arc<Writer>| {
            writer.retry(&session, error)
        },
        writer,
        sessions,
        queue.map(Ok::<_, Infallible>),
        Config::default().concurrency(CONCURRENCY),
    )
    // What failed is told where it is tried again; a session that is no more needs nothing.
    .for_each(|_| std::future::ready(()))
    .await;
}

/// Looks at all sessions when this replica comes to lead, when the view becomes complete or the
/// registration changes, and now and then.
async fn look_again(
    writer: Arc<Writer>,
    view: Arc<View>,
    mut leader: channel::Receiver<bool>,
    news: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
) {
    let mut horizon = view.changes();
    let mut full_pass = tokio::time::interval(FULL_PASS);
    loop {
        let takes_over = tokio::select! {
            changed = leader.changed() => if changed.is_err() { return } else { true },
            changed = horizon.changed() => if changed.is_err() { return } else { true },
            _ = full_pass.tick() => {
                view.prune();
                writer.prune();
                false
            }
        };
        if writer.leads() {
            let wanted = |session: &AgenticSession| {
                let pending = takes_over && writer.enqueue_recent(session);
                writer.is_due(session) || pending
            };
            for session in view.sessions.state_filter(wanted) {
                // Nobody listens any more only while the process ends.
                let _ = news.send(ObjectRef::from_obj(&*session));
            }
        }
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
