//! Load on admission: fifty session pods a second, each of a session that exists, and beside them pods that are none of
//! our business.
//!
//! ```text
//!  maker ──50/s session pods, 5/s others──> API server ──> [webhook] ──> answers, counted
//!  remover ──each second, what is some seconds old──> what was stored, looked at once more
//!     └──what is removed──> maker: pods that nobody could remove yet are never many
//!  watch ──> times in which this machine stood still
//! ```
//!
//! The rate is that of asking: a request that waits does not hold the next one up, and what a machine with other work
//! to do could not ask for in time is left out. Nothing is asserted here, least of all about time; the [`Story`] is
//! what a test judges.

mod count;
mod pods;

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
use crate::wait::PATIENCE;

pub use count::{Answer, Miss, Span, Story, Tally, names_us};
use pods::Pods;

/// Session pods a second.
pub const RATE: u64 = 50;
/// Of so many session pods each is followed by one that is none of our business.
const OTHERS: u64 = 10;
/// Sessions that the pods belong to, by turns.
const SESSIONS: usize = 20;
/// Requests under way at a time, at most: more than wait while a webhook is not answered for its 5 s.
const UNDER_WAY: usize = 400;
/// How old a batch of pods gets, in seconds.
const AGE: u64 = 3;
/// Batches that are removed at a time. An API server removes the pods of one after the other, at times more slowly than
/// they come.
const REMOVED_AT_A_TIME: usize = 8;
/// Batches that are there at a time, at most. A small cluster whose pods become thousands is busy with nothing else.
const BATCHES: u64 = 20;
/// What the sessions ask for; nobody ever fetches it.
const URL: &str = "https://git.invalid/acme/flow.git";
/// A pause that takes this much longer than it should says that the machine stood still.
const STALL: SignedDuration = SignedDuration::from_secs(1);
/// After a stall, what was held up takes this long: as long as the API server waits for a webhook.
const AFTER_STALL: SignedDuration = SignedDuration::from_secs(5);

/// A load that lasts until it is stopped.
#[must_use = "the load ends when it is dropped"]
pub struct Load {
    shared: Arc<Shared>,
    answered: watch::Receiver<usize>,
    maker: JoinHandle<()>,
    remover: JoinHandle<anyhow::Result<()>>,
    _clock: Aborted,
}

struct Shared {
    pods: Pods,
    sessions: Vec<Session>,
    story: Mutex<Story>,
    answered: watch::Sender<usize>,
    /// Batches.
    removed: AtomicU64,
    stopped: AtomicBool,
}

/// A task that ends when this is dropped.
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

/// Keeps up the load while `work` lasts, some seconds before and after it, too.
pub async fn during(
    namespace: &TestNamespace,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Story> {
    let load = Load::start(namespace).await?;
    let some = usize::try_from(2 * RATE)?;
    // Connections are made and kept before anything happens.
    load.another(some).await?;
    let done = work.await;
    load.another(some).await?;
    let story = load.stop().await?;
    done.map(|()| story)
}

impl Load {
    /// Makes the sessions and starts.
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
            pods: Pods { client, namespace: namespace.name.clone() },
            sessions,
            story: Mutex::default(),
            answered: sender,
            removed: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        Ok(Self {
            answered,
            maker: tokio::spawn(make(Arc::clone(&shared))),
            remover: tokio::spawn(remove(Arc::clone(&shared))),
            _clock: Aborted(tokio::spawn(notice_stalls(Arc::clone(&shared)))),
            shared,
        })
    }

    /// Waits until so many more session pods have been asked for and answered.
    pub async fn another(&self, pods: usize) -> anyhow::Result<()> {
        let mut answered = self.answered.clone();
        let goal = *answered.borrow() + pods;
        let reached = answered.wait_for(|answered| *answered >= goal);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(reached) => Ok(reached.map(drop)?),
            Err(_) if self.remover.is_finished() => {
                anyhow::bail!("pods could not be removed any more: {}", self.so_far())
            }
            Err(_) => anyhow::bail!("the load does not go on: {}", self.so_far()),
        }
    }

    /// What happened so far.
    pub fn so_far(&self) -> Story {
        self.shared.story().clone()
    }

    /// Ends it, removes all of its pods and tells what happened.
    pub async fn stop(mut self) -> anyhow::Result<Story> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        (&mut self.maker).await?;
        (&mut self.remover).await??;
        self.shared.remove(None).await?;
        Ok(self.so_far())
    }
}

impl Shared {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    async fn ask(&self, number: u64, batch: u64) {
        let session = usize::try_from(number).ok().and_then(|at| self.sessions.get(at % SESSIONS));
        let Some(session) = session else { return };
        let name = format!("load-{number}");
        let (when, answer) = self.timed(&pods::of_session(session, &name, batch)).await;
        self.story().sessions.count(&name, when, answer);
        self.answered.send_modify(|answered| *answered += 1);
        if number.is_multiple_of(OTHERS) {
            let name = format!("other-{number}");
            let (when, answer) = self.timed(&pods::of_others(&name, batch)).await;
            self.story().others.count(&name, when, answer);
        }
    }

    async fn timed(&self, pod: &serde_json::Value) -> (Span, Answer) {
        let from = Timestamp::now();
        let answer = self.pods.create(pod).await;
        (Span { from, to: Timestamp::now() }, answer)
    }

    /// Removes a batch, or all that is left, also when the API server is away for a while. What was stored without the
    /// init container counts, too: the answer to its creation may have been lost.
    async fn remove(&self, batch: Option<u64>) -> anyhow::Result<()> {
        let mut limit = Instant::now() + PATIENCE;
        let mut bare = Vec::new();
        loop {
            match self.pods.delete(batch).await {
                Ok((some, more)) => {
                    bare.extend(some);
                    limit = Instant::now() + PATIENCE;
                    if !more {
                        break;
                    }
                }
                Err(answer) => {
                    anyhow::ensure!(Instant::now() < limit, "pods can't be removed: {answer:?}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        let mut story = self.story();
        let unknown: Vec<_> = bare.into_iter().filter(|pod| !story.sessions.bare.contains(pod)).collect();
        story.sessions.bare.extend(unknown);
        Ok(())
    }
}

/// Asks for pods at the rate.
async fn make(shared: Arc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (room, mut asking, mut number) = (Arc::new(Semaphore::new(UNDER_WAY)), JoinSet::new(), 0);
    while shared.goes_on() {
        ticks.tick().await;
        while asking.try_join_next().is_some() {}
        if number / RATE >= shared.removed.load(Ordering::Relaxed) + BATCHES {
            continue;
        }
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        let shared = Arc::clone(&shared);
        asking.spawn(async move {
            shared.ask(number, number / RATE).await;
            drop(place);
        });
        number += 1;
    }
    asking.join_all().await;
}

/// Removes batches that are old enough.
async fn remove(shared: Arc<Shared>) -> anyhow::Result<()> {
    let (mut removing, mut batch) = (JoinSet::new(), 0);
    let mut answered = shared.answered.subscribe();
    while shared.goes_on() {
        let enough = usize::try_from((batch + 1 + AGE) * RATE)?;
        let has_room = removing.len() < REMOVED_AT_A_TIME;
        tokio::select! {
            reached = answered.wait_for(|answered| *answered >= enough), if has_room => {
                drop(reached?);
                let shared = Arc::clone(&shared);
                removing.spawn(async move {
                    shared.remove(Some(batch)).await?;
                    shared.removed.fetch_add(1, Ordering::Relaxed);
                    anyhow::Ok(())
                });
                batch += 1;
            }
            Some(removed) = removing.join_next() => removed??,
            // Nothing tells of the end but the flag.
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    while let Some(removed) = removing.join_next().await {
        removed??;
    }
    Ok(())
}

/// Notes when a short pause took long.
async fn notice_stalls(shared: Arc<Shared>) {
    loop {
        let from = Timestamp::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let to = Timestamp::now();
        if from.duration_until(to) > STALL {
            shared.story().stalls.push(Span { from, to }.and(AFTER_STALL));
        }
    }
}
