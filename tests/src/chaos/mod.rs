//! Fifty session pods a second during random disruptions of the injector.
//!
//! ```text
//!  load ──────── 50/s pods that are never scheduled: created, checked, deleted
//!  sessions ──── one for 25 of these, by the fake operator; their pods are gated, and two at a time run
//!  disruptions ─ from the seed, one after another; a rotation of the CA runs beside the others
//! ```
//!
//! Only two session pods run at a time, so that a small node suffices. A pod that finds no node, or that the kubelet
//! rejects, is counted and is no failure, as long as other sessions ran. After the time of the plan nothing new is begun.

mod report;
mod schedule;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::disruption::{Disruption, Disruptor};
use crate::load::{Load, RATE, Span};
use crate::namespace::TestNamespace;
use crate::session_pool::{ExpectedOutcome, RunOutcome, SessionPool};
use crate::wait::TIMEOUT;

pub use report::{ChaosReport, ReplicaMemory, SessionResult};
use schedule::{DisruptionSchedule, possible};

/// Pods of the load for each session of the operator.
const LOAD_PODS_PER_SESSION: u64 = 25;
/// Sessions whose pods run at the same time.
const RUNNING_SESSIONS: usize = 2;
/// Sessions for each one whose branch does not exist.
const SESSIONS_PER_MISSPELT: usize = 5;
/// Time without disruptions before the end.
const QUIET: Duration = Duration::from_secs(5);

/// Parameters of a run.
#[derive(Clone, Copy, Debug)]
pub struct ChaosPlan {
    /// Determines the schedule of disruptions.
    pub seed: u64,
    /// Duration of the load.
    pub length: Duration,
}

/// Runs the plan in this namespace. Fails only if there is nothing to evaluate.
pub async fn run(namespace: TestNamespace, plan: ChaosPlan) -> anyhow::Result<ChaosReport> {
    let disruptor = Arc::new(Disruptor::new(&namespace.cluster));
    disruptor.wait_until_healthy().await?;
    let pool = Arc::new(SessionPool::new(namespace.clone()).await?);
    let load = Load::start(&namespace).await?;
    let end = Instant::now() + plan.length;
    let disruptions = tokio::spawn(disrupt(Arc::clone(&disruptor), plan, end, namespace.cluster.is_local()));
    let sessions = tokio::spawn(run_sessions(Arc::clone(&pool), sleep_until(end)));
    let memory = tokio::spawn(measure_memory(Arc::clone(&disruptor), plan.length, end));

    let disruptions = disruptions.await?;
    sleep_until(end).await;
    let load = load.stop().await?;
    let disruptions = disruptions.context("disrupt the injector")?;
    let (sessions, memory) = (sessions.await?, memory.await?);
    let denied = denied(&pool);
    Ok(ChaosReport { seed: plan.seed, length: plan.length, load, sessions, denied, disruptions, memory })
}

/// Runs `work` under the same load and sessions. No request may fail meanwhile.
pub async fn during(
    namespace: &TestNamespace,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ChaosReport> {
    let began = Instant::now();
    let pool = Arc::new(SessionPool::new(namespace.clone()).await?);
    let load = Load::start(namespace).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let sessions = tokio::spawn(run_sessions(Arc::clone(&pool), stopped.map(drop)));
    let done = work.await;
    drop(stop);
    let load = load.stop().await?;
    let (sessions, denied) = (sessions.await?, denied(&pool));
    let report = ChaosReport { length: began.elapsed(), load, sessions, denied, ..ChaosReport::default() };
    done.with_context(|| format!("under load:\n{report}\n{}", report.violations().join("\n")))?;
    Ok(report)
}

fn denied(pool: &SessionPool) -> BTreeMap<String, Span> {
    pool.denied().into_iter().map(|(name, at)| (name, Span { from: at, to: at })).collect()
}

async fn disrupt(
    disruptor: Arc<Disruptor>,
    plan: ChaosPlan,
    end: Instant,
    local: bool,
) -> anyhow::Result<Vec<(Disruption, Span)>> {
    let mut done = Vec::new();
    let mut rotation: Option<JoinHandle<anyhow::Result<()>>> = None;
    for (pause, disruption) in DisruptionSchedule::new(plan.seed, possible(plan.length, local)) {
        sleep(pause).await;
        if Instant::now() + QUIET > end {
            break;
        }
        let from = Timestamp::now();
        if disruption == Disruption::CaRotation {
            match rotation.take() {
                Some(running) if !running.is_finished() => {
                    rotation = Some(running);
                    continue;
                }
                Some(finished) => finished.await??,
                None => {}
            }
            let disruptor = Arc::clone(&disruptor);
            rotation = Some(tokio::spawn(async move { disruptor.disrupt(disruption).await.map(drop) }));
        } else {
            Box::pin(disruptor.disrupt(disruption)).await?;
        }
        done.push((disruption, Span { from, to: Timestamp::now() }));
    }
    if let Some(running) = rotation {
        running.await??;
    }
    Ok(done)
}

/// Creates sessions at their rate until the end, then waits for the last of them.
async fn run_sessions(pool: Arc<SessionPool>, end: impl Future<Output = ()>) -> Vec<SessionResult> {
    let mut end = pin!(end);
    let permits = Arc::new(Semaphore::new(RUNNING_SESSIONS));
    let mut ticks = interval(Duration::from_secs(LOAD_PODS_PER_SESSION) / u32::try_from(RATE).unwrap_or(1));
    let (mut sessions, mut number) = (JoinSet::new(), 0);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = ticks.tick() => {}
        }
        let is_misspelt = number % SESSIONS_PER_MISSPELT == SESSIONS_PER_MISSPELT - 1;
        let expected = if is_misspelt { ExpectedOutcome::RefNotFound } else { ExpectedOutcome::Delivered };
        sessions.spawn(session(Arc::clone(&pool), Arc::clone(&permits), format!("s-{number}"), expected));
        number += 1;
    }
    sessions.join_all().await
}

async fn session(
    pool: Arc<SessionPool>,
    permits: Arc<Semaphore>,
    name: String,
    expected: ExpectedOutcome,
) -> SessionResult {
    let mut result = SessionResult { name, ..SessionResult::default() };
    if let Err(error) = run_session(&pool, &permits, expected, &mut result).await {
        result.stuck = Some(format!("{error:#}"));
    }
    result
}

async fn run_session(
    pool: &SessionPool,
    permits: &Semaphore,
    expected: ExpectedOutcome,
    result: &mut SessionResult,
) -> anyhow::Result<()> {
    pool.create(&result.name, expected).await?;
    result.problems = pool.wait_until_held(&result.name).await?;
    // Held until the pod is gone.
    let _permit = match permits.try_acquire() {
        Ok(permit) => {
            match pool.run(&result.name, expected).await? {
                RunOutcome::Ended(problems) => {
                    result.ran = true;
                    result.delivered = expected == ExpectedOutcome::Delivered && problems.is_empty();
                    result.problems.extend(problems);
                }
                RunOutcome::NotRun(reason) => result.not_run = Some(reason),
            }
            Some(permit)
        }
        Err(_) => None,
    };
    pool.remove(&result.name).await
}

/// Measures at the beginning, in the middle, and just before the end.
async fn measure_memory(disruptor: Arc<Disruptor>, length: Duration, end: Instant) -> Vec<ReplicaMemory> {
    let mut all = Vec::new();
    for at in [end - length + QUIET, end - length / 2, end - QUIET / 2] {
        sleep_until(at).await;
        // Retried while the API server is unavailable.
        let now = loop {
            match disruptor.memory().await {
                Ok(now) => break now,
                Err(_) if Instant::now() > end + TIMEOUT => return all,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        };
        all.push(now);
    }
    all
}
