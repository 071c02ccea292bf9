//! Measures the status controller: the released program as a process of its own, on a real API server without nodes,
//! with pods whose status is written by the benchmark.
//!
//! ```text
//!  benchmark ──pod status──> API server ──watch──> workflow-injector serve ──PUT──> API server ──watch──> condition watch
//! ```
//!
//! All of it shares one machine, so measurements include the work of API server, etcd, benchmark and watch. Calls are
//! counted in the API server's audit log. Nothing is asserted here: the table shows whether the limits hold.

mod calls;
mod table;
mod watch;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Source, Termination};

use crate::api_server;
use crate::manual_operator::{self, ManualOperator};
use crate::namespace::TestNamespace;
use crate::released::{Injector, Running};
use crate::session::SessionBuilder;

use calls::Calls;
pub use table::Table;
use table::percentile;
use watch::ConditionWatch;

const URL: &str = "https://git.example/acme/flow.git";
/// Name of the injector's pod, before and after the restart.
const POD: &str = "bench-status-0";
/// Limit of concurrent requests while sessions are created.
const CONCURRENCY: usize = 16;
/// Limits, from the product's own promises.
const MEMORY: u64 = 64_000_000;
const LATENCY: Duration = Duration::from_millis(100);
const CATCH_UP: Duration = Duration::from_secs(10);
const CALLS: usize = 3;

pub struct BenchPlan {
    /// The released program `workflow-injector`.
    pub injector: PathBuf,
    /// Sessions, each with a pod.
    pub sessions: usize,
    /// Outcomes a second.
    pub rate: u32,
    /// Outcomes in each measurement.
    pub outcomes: usize,
}

/// Measures and returns the table. Fails only if nothing could be measured.
pub async fn run(plan: &BenchPlan) -> anyhow::Result<Table> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let server = api_server::server()?;
    let client = cluster.client.clone();
    manual_operator::register(client.clone()).await?;
    let address = Ipv4Addr::LOCALHOST.into();
    let injector = Injector::install(&client, server, &plan.injector).await?;
    let manual = ManualOperator::new(TestNamespace::named(cluster, "bench-status").await?);
    let names: Vec<String> = (0..plan.sessions).map(|at| format!("s-{at:05}")).collect();

    let running = injector.start(POD, address).await?;
    let idle = running.memory()?.now;
    let begun = Instant::now();
    stream::iter(names.iter().map(Ok::<_, anyhow::Error>))
        .try_for_each_concurrent(CONCURRENCY, async |name| begin(&manual, name).await)
        .await?;
    let made = begun.elapsed();
    let watch = ConditionWatch::start(manual.sessions());
    watch.until_all(&names, "Fetching").await?;

    let mut table = Table::default();
    table.note("sessions, each with a pod", plan.sessions.to_string());
    table.note(
        "sessions made and Fetching, a second",
        (plan.sessions as u128 * 1000 / made.as_millis().max(1)).to_string(),
    );
    let (first, second) = names.split_at(plan.outcomes.min(names.len() / 2));
    let second = &second[..plan.outcomes.min(second.len())];
    let calls = Calls::begin(server.audit_log())?;
    outcomes(plan, &manual, &watch, first, &mut table).await?;
    watch.until_all(first, "RefNotFound").await?;
    settle_calls(&calls, first.len(), &mut table).await?;
    table.note(
        "memory before there were sessions",
        format!("{}.{} MB", idle / 1_000_000, idle / 100_000 % 10),
    );
    memory(&running, "memory at work", &mut table)?;

    running.kill()?;
    end_all(&manual, second).await?;
    let restarted = Instant::now();
    let running = injector.start(POD, address).await?;
    table.note("restart to ready", format!("{} ms", restarted.elapsed().as_millis()));
    watch.until_all(second, "RefNotFound").await?;
    table.time(
        &format!("restart to caught up with {} outcomes of the time in between", second.len()),
        restarted.elapsed(),
        CATCH_UP,
    );
    memory(&running, "memory after the restart", &mut table)?;
    Ok(table)
}

/// Outcomes at the plan's rate, and how long each took to reach its session.
async fn outcomes(
    plan: &BenchPlan,
    manual: &ManualOperator,
    watch: &ConditionWatch,
    names: &[String],
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / plan.rate);
    let begun = Instant::now();
    let mut ended = Vec::with_capacity(names.len());
    for name in names {
        pace.tick().await;
        let (manual, name) = (manual.clone(), name.clone());
        ended.push(tokio::spawn(async move {
            let requested = Instant::now();
            end(&manual, &name).await?;
            anyhow::Ok((name, requested, Instant::now()))
        }));
    }
    let rate = names.len() as u128 * 1000 / begun.elapsed().as_millis().max(1);
    let ended: Vec<_> = stream::iter(ended).then(async |one| one.await?).try_collect().await?;
    watch.until_all(names, "RefNotFound").await?;
    let since = |name: &str| watch.since(name, "RefNotFound");
    let mut after: Vec<_> = ended
        .iter()
        .filter_map(|(name, _, stored)| Some(since(name)?.saturating_duration_since(*stored)))
        .collect();
    let mut whole: Vec<_> = ended
        .iter()
        .filter_map(|(name, requested, _)| Some(since(name)?.saturating_duration_since(*requested)))
        .collect();
    table.note("outcomes a second", rate.to_string());
    table.note("exit status to condition, median", format!("{} ms", percentile(&mut after, 50).as_millis()));
    table.time("exit status to condition, 99th percentile", percentile(&mut after, 99), LATENCY);
    table.note(
        "the same, with the time the API server takes to store the exit status",
        format!("{} ms", percentile(&mut whole, 99).as_millis()),
    );
    Ok(())
}

/// Waits until the Events of all outcomes are published, and counts the calls.
async fn settle_calls(calls: &Calls, outcomes: usize, table: &mut Table) -> anyhow::Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    let counted = loop {
        let counted = calls.for_sessions()?;
        if counted.get("create events").copied().unwrap_or_default() >= outcomes || Instant::now() > limit {
            break counted;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    table.ratio("API calls for each outcome", counted.values().sum(), outcomes, CALLS);
    let each: Vec<_> = counted.iter().map(|(call, count)| format!("{count} × {call}")).collect();
    table.note("of these", each.join(", "));
    Ok(())
}

fn memory(running: &Running, what: &str, table: &mut Table) -> anyhow::Result<()> {
    let memory = running.memory()?;
    table.memory(&format!("{what}, resident"), memory.now, MEMORY);
    table.memory(&format!("{what}, at most so far"), memory.peak, MEMORY);
    Ok(())
}

async fn begin(manual: &ManualOperator, name: &str) -> anyhow::Result<()> {
    let session = SessionBuilder::new(name).workflow_path(URL, "mian", "flows/review");
    let session = session.variable("TEAM", "platform").variable("TRACE", "1").build();
    let name = manual.begin(session).await?.name_any();
    let running = serde_json::json!({ "running": { "startedAt": jiff::Timestamp::UNIX_EPOCH } });
    manual.report(&name, "Pending", running).await
}

/// The init container fails.
async fn end(manual: &ManualOperator, name: &str) -> anyhow::Result<()> {
    let source = Source::new(URL, "mian", "flows/review");
    let details = Details {
        url: Some(source.git_url),
        reference: Some(source.branch),
        path: Some(source.path),
        ..Details::new(Exit::RefNotFound)
    };
    let message = "no branch, tag or commit `mian`; did you mean `main`?".to_owned();
    let message = Termination { message, details: Some(details) }.render();
    manual.end(name, Exit::RefNotFound.code().into(), "Error", &message).await
}

async fn end_all(manual: &ManualOperator, names: &[String]) -> anyhow::Result<()> {
    stream::iter(names.iter().map(Ok))
        .try_for_each_concurrent(CONCURRENCY, async |name| end(manual, name).await)
        .await
}
