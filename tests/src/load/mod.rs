//! Load on admission: fifty session pods a second, each of an existing session, and pods that do not concern the injector.
//!
//! ```text
//!  creator ──50/s session pods, 5/s others──> API server ──> [webhook] ──> responses, counted
//!  remover ──each second, pods of some seconds ago──> pods as stored, checked once more
//!     └──count of removed batches──> creator, which limits the number of existing pods
//!  stall detector ──> periods in which this machine stalled
//! ```
//!
//! The rate is that of requests: one that waits does not delay the next, and requests that a busy machine could not send
//! in time are skipped. Nothing is asserted here; tests evaluate the [`LoadReport`].

mod pods;
mod report;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::namespace::TestNamespace;
use crate::session::{self, Session, SessionBuilder};
use crate::wait::TIMEOUT;

use pods::LoadPods;
pub use report::{FailedRequest, LoadReport, Response, Span, Tally, names_our_webhook};

/// Session pods a second.
pub const RATE: u64 = 50;
/// Session pods for each pod that does not concern the injector.
const SESSION_PODS_PER_OTHER: u64 = 10;
/// Sessions that own the pods.
const SESSIONS: usize = 20;
/// Limit of concurrent requests: more than are pending while a webhook does not respond for its 5 s.
const CONCURRENCY: usize = 400;
/// Age in seconds at which a batch of pods is deleted.
const AGE: u64 = 3;
/// Limit of batches that are deleted concurrently. The API server deletes the pods of one batch one by one, sometimes
/// more slowly than they are created.
const CONCURRENT_DELETIONS: usize = 8;
/// Limit of existing batches: thousands of pods keep a small cluster busy.
const MAX_BATCHES: u64 = 20;
/// Workflow of the sessions; it is never fetched.
const URL: &str = "https://git.invalid/acme/flow.git";
/// A sleep that is longer than requested by this much indicates that the machine stalled.
const STALL: SignedDuration = SignedDuration::from_secs(1);
/// Time until requests that a stall has delayed are answered: the timeout of a webhook call.
const AFTER_STALL: SignedDuration = SignedDuration::from_secs(5);

/// A load that lasts until it is stopped.
#[must_use = "the load ends when it is dropped"]
pub struct Load {
    shared: Arc<Shared>,
    answered: watch::Receiver<usize>,
    creator: JoinHandle<()>,
    remover: JoinHandle<anyhow::Result<()>>,
    _stall_detector: Aborted,
}

struct Shared {
    pods: LoadPods,
    sessions: Vec<Session>,
    report: Mutex<LoadReport>,
    answered: watch::Sender<usize>,
    removed_batches: AtomicU64,
    stopped: AtomicBool,
}

/// Aborts a task when dropped.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` under load, which starts some seconds before it and ends some seconds after it.
pub async fn during(
    namespace: &TestNamespace,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<LoadReport> {
    let load = Load::start(namespace).await?;
    let some = usize::try_from(2 * RATE)?;
    // Connections are established before the work starts.
    load.wait_for(some).await?;
    let done = work.await;
    load.wait_for(some).await?;
    let report = load.stop().await?;
    done.map(|()| report)
}

impl Load {
    /// Creates the sessions and starts.
    pub async fn start(namespace: &TestNamespace) -> anyhow::Result<Self> {
        let client = namespace.cluster.client.clone();
        let api = session::api(client.clone(), &namespace.name);
        let mut sessions = Vec::with_capacity(SESSIONS);
        for at in 0..SESSIONS {
            let session = SessionBuilder::new(&format!("load-{at}")).workflow(URL, "main").build();
            sessions.push(api.create(&PostParams::default(), &session).await?);
        }
        let (sender, answered) = watch::channel(0);
        let shared = Arc::new(Shared {
            pods: LoadPods { client, namespace: namespace.name.clone() },
            sessions,
            report: Mutex::default(),
            answered: sender,
            removed_batches: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        Ok(Self {
            answered,
            creator: tokio::spawn(create(Arc::clone(&shared))),
            remover: tokio::spawn(remove(Arc::clone(&shared))),
            _stall_detector: Aborted(tokio::spawn(detect_stalls(Arc::clone(&shared)))),
            shared,
        })
    }

    /// Waits for responses to so many more session pods.
    pub async fn wait_for(&self, pods: usize) -> anyhow::Result<()> {
        let mut answered = self.answered.clone();
        let goal = *answered.borrow() + pods;
        let reached = answered.wait_for(|answered| *answered >= goal);
        match tokio::time::timeout(TIMEOUT, reached).await {
            Ok(reached) => Ok(reached.map(drop)?),
            Err(_) if self.remover.is_finished() => {
                anyhow::bail!("pods could not be deleted: {}", self.so_far())
            }
            Err(_) => anyhow::bail!("the load stalls: {}", self.so_far()),
        }
    }

    pub fn so_far(&self) -> LoadReport {
        self.shared.report().clone()
    }

    /// Stops the load, deletes all of its pods and returns the report.
    pub async fn stop(mut self) -> anyhow::Result<LoadReport> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        (&mut self.creator).await?;
        (&mut self.remover).await??;
        self.shared.remove(None).await?;
        Ok(self.so_far())
    }
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, LoadReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    async fn request(&self, number: u64, batch: u64) {
        let session = usize::try_from(number).ok().and_then(|at| self.sessions.get(at % SESSIONS));
        let Some(session) = session else { return };
        let name = format!("load-{number}");
        let (when, response) = self.create(&pods::of_session(session, &name, batch)).await;
        self.report().sessions.count(&name, when, response);
        self.answered.send_modify(|answered| *answered += 1);
        if number.is_multiple_of(SESSION_PODS_PER_OTHER) {
            let name = format!("other-{number}");
            let (when, response) = self.create(&pods::other(&name, batch)).await;
            self.report().others.count(&name, when, response);
        }
    }

    async fn create(&self, pod: &serde_json::Value) -> (Span, Response) {
        let from = Timestamp::now();
        let response = self.pods.create(pod).await;
        (Span { from, to: Timestamp::now() }, response)
    }

    /// Deletes a batch, or all remaining pods, also when the API server is unavailable for a while. LoadPods that were stored
    /// without the init container are counted, too: the response to their creation may have been lost.
    async fn remove(&self, batch: Option<u64>) -> anyhow::Result<()> {
        let mut limit = Instant::now() + TIMEOUT;
        let mut not_injected = Vec::new();
        loop {
            match self.pods.delete(batch).await {
                Ok((some, more)) => {
                    not_injected.extend(some);
                    limit = Instant::now() + TIMEOUT;
                    if !more {
                        break;
                    }
                }
                Err(response) => {
                    anyhow::ensure!(Instant::now() < limit, "pods can't be deleted: {response:?}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        let mut report = self.report();
        let known = &mut report.sessions.not_injected;
        not_injected.retain(|pod| !known.contains(pod));
        known.extend(not_injected);
        Ok(())
    }
}

/// Creates pods at the rate.
async fn create(shared: Arc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (permits, mut requests, mut number) = (Arc::new(Semaphore::new(CONCURRENCY)), JoinSet::new(), 0);
    while shared.is_running() {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        if number / RATE >= shared.removed_batches.load(Ordering::Relaxed) + MAX_BATCHES {
            continue;
        }
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let shared = Arc::clone(&shared);
        requests.spawn(async move {
            shared.request(number, number / RATE).await;
            drop(permit);
        });
        number += 1;
    }
    requests.join_all().await;
}

/// Deletes batches that are old enough.
async fn remove(shared: Arc<Shared>) -> anyhow::Result<()> {
    let (mut removing, mut batch) = (JoinSet::new(), 0);
    let mut answered = shared.answered.subscribe();
    while shared.is_running() {
        let enough = usize::try_from((batch + 1 + AGE) * RATE)?;
        let has_permit = removing.len() < CONCURRENT_DELETIONS;
        tokio::select! {
            reached = answered.wait_for(|answered| *answered >= enough), if has_permit => {
                drop(reached?);
                let shared = Arc::clone(&shared);
                removing.spawn(async move {
                    shared.remove(Some(batch)).await?;
                    shared.removed_batches.fetch_add(1, Ordering::Relaxed);
                    anyhow::Ok(())
                });
                batch += 1;
            }
            Some(removed) = removing.join_next() => removed??,
            // The flag can only be polled.
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    while let Some(removed) = removing.join_next().await {
        removed??;
    }
    Ok(())
}

/// Records when a short sleep took long.
async fn detect_stalls(shared: Arc<Shared>) {
    loop {
        let from = Timestamp::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let to = Timestamp::now();
        if from.duration_until(to) > STALL {
            shared.report().stalls.push(Span { from, to }.extended(AFTER_STALL));
        }
    }
}
