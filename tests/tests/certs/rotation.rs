//! Rotation with lifetimes of seconds, under constant load.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use workflow_certs::{CertInfo, Lifetimes};
use workflow_tests::api_server;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::wait::until_so;

use super::call;
use super::replica::{Replica, bundles, register, unregister};

/// Duration of the load in seconds; two minutes are six CAs and more.
const ROTATION_SECONDS: &str = "CERTS_ROTATION_SECONDS";
const LIFETIMES: Lifetimes = Lifetimes {
    ca: SignedDuration::from_secs(20),
    serving: SignedDuration::from_secs(4),
    settle: SignedDuration::from_secs(3),
};

/// Reading the API server takes milliseconds; if it takes this long the machine is stalled, and certificates of a few
/// seconds expire.
const STALL: SignedDuration = SignedDuration::from_secs(1);

struct FailedCall {
    began: Timestamp,
    ended: Timestamp,
    error: String,
}

/// The certificates served and trusted over time, to explain a failed call.
#[derive(Default)]
struct CertificateHistory {
    serving: BTreeSet<String>,
    cas: BTreeSet<String>,
    lines: Vec<String>,
    last: String,
    /// Times without a response of the API server, each with the time that a renewal takes afterwards.
    stalls: Vec<(Timestamp, Timestamp)>,
}

impl CertificateHistory {
    async fn record(&mut self, namespace: &TestNamespace, replicas: &[&Replica]) -> anyhow::Result<()> {
        let (began, mut now) = (Timestamp::now(), String::new());
        for (index, replica) in replicas.iter().enumerate() {
            let Some(info) = replica.resolver.info() else { continue };
            let leads = if *replica.leading.borrow() { " leads and" } else { "" };
            let (serial, ca) = (short(&info.serial), short(&info.issuer_key_id));
            write!(now, " replica {index}{leads} serves {serial} by {ca} until {};", info.not_after)?;
            self.serving.insert(info.serial);
            self.cas.insert(info.issuer_key_id);
        }
        for bundle in bundles(namespace).await? {
            let blocks = bundle
                .split_inclusive("-----END CERTIFICATE-----")
                .filter_map(|pem| CertInfo::from_pem(pem).ok());
            let trusted: Vec<_> = blocks.map(|ca| short(&ca.key_id).to_owned()).collect();
            write!(now, " trusted are {trusted:?};")?;
        }
        if began.duration_until(Timestamp::now()) > STALL {
            self.stalls.push((began, Timestamp::now() + LIFETIMES.serving));
        }
        if now != self.last {
            self.lines.push(format!("{}{now}", Timestamp::now()));
            self.last = now;
        }
        Ok(())
    }
}

impl FailedCall {
    fn in_a_stall(&self, stalls: &[(Timestamp, Timestamp)]) -> bool {
        stalls.iter().any(|(from, to)| self.began <= *to && self.ended >= *from)
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Calls the webhooks until `end`; returns the number of calls and the failed ones.
async fn load(namespace: TestNamespace, end: Instant) -> (u32, Vec<FailedCall>) {
    let (mut calls, mut failed) = (0, Vec::new());
    while Instant::now() < end {
        calls += 1;
        let began = Timestamp::now();
        if let Err(error) = call(&namespace).await {
            failed.push(FailedCall { began, ended: Timestamp::now(), error: error.to_string() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (calls, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_constant_load_fails_no_call() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let namespace = TestNamespace::named(cluster, "rotation").await?;
    let seconds = std::env::var(ROTATION_SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(45);
    let first = Replica::start(&namespace, "first", LIFETIMES).await?;
    let second = Replica::start(&namespace, "second", LIFETIMES).await?;
    register(&namespace, &[&first, &second]).await?;
    until_so("the first call to go through", || async { Ok(call(&namespace).await.is_ok()) }).await?;

    let end = Instant::now() + Duration::from_secs(seconds);
    let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(namespace.clone(), end))).collect();
    let mut history = CertificateHistory::default();
    while Instant::now() < end {
        history.record(&namespace, &[&first, &second]).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut calls, mut failed) = (0, Vec::new());
    for load in loads {
        let (more, failures) = load.await?;
        calls += more;
        failed.extend(failures);
    }
    let bundles = bundles(&namespace).await?;
    unregister(&namespace).await?;
    let (serving, cas) = (history.serving.len(), history.cas.len());
    let (excused, failed): (Vec<_>, Vec<_>) =
        failed.into_iter().partition(|failed| failed.in_a_stall(&history.stalls));
    println!(
        "{calls} calls, {} failed, {} more while the machine was stalled; {serving} serving certificates, {cas} CAs",
        failed.len(),
        excused.len()
    );
    let lines = failed.iter().map(|call| format!("{} to {}: {}", call.began, call.ended, call.error));
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {calls} failed:\n{}\n{}",
        failed.len(),
        lines.collect::<Vec<_>>().join("\n"),
        history.lines.join("\n")
    );
    if !history.stalls.is_empty() {
        return Ok(());
    }
    anyhow::ensure!(u64::try_from(cas)? >= seconds / 20, "too few CAs: {cas}");
    anyhow::ensure!(u64::try_from(serving)? >= seconds / 5, "too few serving certificates: {serving}");
    anyhow::ensure!(bundles.len() == 2 && bundles[0] == bundles[1], "all entries have the same bundle");
    Ok(())
}
