//! Under fifty session pods a second no disruption by an admin loses a request, and a crash costs no session its workflow
//! or its prompt. Rotations of the CA, which take a minute with their real settle time, are tested in `certs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use workflow_tests::disruption::{Disruption, Disruptor};
use workflow_tests::load::{self, LoadReport, Span};
use workflow_tests::namespace::with_namespace;
use workflow_tests::session_pool::{ExpectedOutcome, RunOutcome, SessionPool};

use crate::TURN;

/// Sessions a second during a crash: enough that some are denied.
const SESSIONS: u32 = 5;
/// Sessions whose pods run afterwards, denied ones first.
const RUNS: usize = 2;
/// Sessions that are tried until so many ran.
const TRIES: usize = 6;
/// Time after a crash in which requests may still fail: until kube-proxy has updated the endpoints.
const CRASH_RECOVERY: SignedDuration = SignedDuration::from_secs(5);

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn print(text: &str) {
    println!("{text}");
}

fn ensure_no_violation(report: &LoadReport) -> anyhow::Result<()> {
    print(&report.to_string());
    let violations = report.violations();
    ensure!(violations.is_empty(), "{report}\n{}", violations.join("\n"));
    Ok(())
}

/// Creates sessions until `stop` is true, and returns their names.
async fn create_sessions(
    pool: Arc<SessionPool>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Vec<String>> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / SESSIONS);
    let mut names = Vec::new();
    while !*stop.borrow_and_update() {
        ticks.tick().await;
        let name = format!("s-{}", names.len());
        pool.create(&name, ExpectedOutcome::Delivered).await?;
        names.push(name);
    }
    Ok(names)
}

/// Runs some of these sessions, as far as the nodes have capacity.
async fn run_some<'n>(pool: &SessionPool, names: impl Iterator<Item = &'n String>) -> anyhow::Result<()> {
    let (mut ran, mut not_run) = (0, Vec::new());
    for name in names.take(TRIES) {
        match pool.run(name, ExpectedOutcome::Delivered).await? {
            RunOutcome::Ended(problems) => {
                ensure!(problems.is_empty(), "{name}: {}", problems.join(", "));
                ran += 1;
            }
            RunOutcome::NotRun(reason) => not_run.push(reason),
        }
        pool.remove(name).await?;
        if ran == RUNS {
            return Ok(());
        }
    }
    ensure!(ran > 0, "no session ran, free some capacity of the nodes: {}", not_run.join("; "));
    Ok(())
}

async fn costs_denials_only(disruption: Disruption) {
    with_namespace(move |namespace| async move {
        let _turn = TURN.lock().await;
        if !namespace.cluster.is_local() {
            return Ok(());
        }
        let disruptor = Disruptor::new(&namespace.cluster);
        disruptor.wait_until_healthy().await?;
        let pool = Arc::new(SessionPool::new(namespace.clone()).await?);
        let (stop, stopped) = watch::channel(false);
        let names = tokio::spawn(create_sessions(Arc::clone(&pool), stopped));
        let mut crash = None;
        let work = async {
            let from = Timestamp::now();
            disruptor.disrupt(disruption).await?;
            crash = Some(Span { from, to: Timestamp::now() }.extended(CRASH_RECOVERY));
            anyhow::Ok(())
        };
        let report = load::during(&namespace, Box::pin(work)).await?;
        stop.send_replace(true);
        let names = names.await??;
        ensure_no_violation(&report)?;
        let crash: Vec<_> = crash.into_iter().collect();
        let failures = report.failures(&crash);
        ensure!(failures.is_empty(), "{disruption} at {crash:?}: {report}\n{}", failures.join("\n"));

        for name in &names {
            let problems = pool.wait_until_held(name).await?;
            ensure!(problems.is_empty(), "{name}: {}", problems.join(", "));
        }
        let denied = pool.denied();
        print(&format!("{disruption}: {} sessions, {} of them denied at first", names.len(), denied.len()));
        let others = names.iter().filter(|name| !denied.contains_key(*name));
        run_some(&pool, denied.keys().chain(others)).await
    })
    .await;
}

async fn loses_no_request(disruption: Disruption) {
    with_namespace(move |namespace| async move {
        let _turn = TURN.lock().await;
        namespace.cluster.require_injector().await?;
        let disruptor = Disruptor::new(&namespace.cluster);
        disruptor.wait_until_healthy().await?;
        let report = load::during(&namespace, Box::pin(disruptor.disrupt_and_drain(disruption))).await?;
        ensure_no_violation(&report)?;
        let failures = report.failures(&[]);
        ensure!(failures.is_empty(), "{disruption}: {report}\n{}", failures.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_loses_no_request() {
    loses_no_request(Disruption::Rollout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eviction_loses_no_request() {
    loses_no_request(Disruption::Eviction).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_of_the_leader_loses_no_request() {
    loses_no_request(Disruption::Deletion).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_leader_loses_no_request() {
    loses_no_request(Disruption::LeaderChange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificate_loses_no_request() {
    loses_no_request(Disruption::CertificateRenewal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_secret_loses_no_request() {
    loses_no_request(Disruption::SecretDeletion).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replica_costs_denials_but_no_workflow_and_no_prompt() {
    costs_denials_only(Disruption::LeaderKill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_api_server_costs_denials_but_no_workflow_and_no_prompt() {
    costs_denials_only(Disruption::ApiServerKill).await;
}
