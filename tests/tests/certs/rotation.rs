//! Rotation with lifetimes of seconds, under constant load.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use workflow_certs::{CertInfo, Lifetimes};
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::wait::until_so;

use super::call;
use super::replica::{Replica, bundles, register, unregister};

/// How long the load lasts, in seconds; two minutes are six authorities and more.
const ROTATION_SECONDS: &str = "CERTS_ROTATION_SECONDS";
const LIFETIMES: Lifetimes = Lifetimes {
    ca: SignedDuration::from_secs(20),
    serving: SignedDuration::from_secs(4),
    settle: SignedDuration::from_secs(3),
};

/// A look at the API server takes milliseconds; one that takes this long says that the machine stands still, and then
/// certificates of a few seconds run out whatever is done.
const STALL: SignedDuration = SignedDuration::from_secs(1);

/// A call that was refused.
struct Refused {
    began: Timestamp,
    ended: Timestamp,
    error: String,
}

/// Who served what, and what was trusted, each time that it changed: to tell why a call was refused.
#[derive(Default)]
struct Story {
    leaves: BTreeSet<String>,
    authorities: BTreeSet<String>,
    lines: Vec<String>,
    last: String,
    /// Times in which the API server did not answer, with as long after them as a leaf takes to be renewed.
    stalls: Vec<(Timestamp, Timestamp)>,
}

impl Story {
    async fn look(&mut self, namespace: &TestNamespace, replicas: &[&Replica]) -> anyhow::Result<()> {
        let (began, mut now) = (Timestamp::now(), String::new());
        for (index, replica) in replicas.iter().enumerate() {
            let Some(facts) = replica.resolver.info() else { continue };
            let leads = if *replica.leading.borrow() { " leads and" } else { "" };
            let (leaf, authority) = (short(&facts.serial), short(&facts.issuer_key_id));
            write!(now, " replica {index}{leads} serves {leaf} of {authority} until {};", facts.not_after)?;
            self.leaves.insert(facts.serial);
            self.authorities.insert(facts.issuer_key_id);
        }
        for bundle in bundles(namespace).await? {
            let blocks = bundle
                .split_inclusive("-----END CERTIFICATE-----")
                .filter_map(|pem| CertInfo::from_pem(pem).ok());
            let trusted: Vec<_> = blocks.map(|authority| short(&authority.key_id).to_owned()).collect();
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

impl Refused {
    fn in_a_stall(&self, stalls: &[(Timestamp, Timestamp)]) -> bool {
        stalls.iter().any(|(from, to)| self.began <= *to && self.ended >= *from)
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Calls up to `end`, and those that were refused.
async fn load(namespace: TestNamespace, end: Instant) -> (u32, Vec<Refused>) {
    let (mut calls, mut refused) = (0, Vec::new());
    while Instant::now() < end {
        calls += 1;
        let began = Timestamp::now();
        if let Err(error) = call(&namespace).await {
            refused.push(Refused { began, ended: Timestamp::now(), error: error.to_string() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (calls, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_constant_load_loses_no_call() {
    with_namespace(async |namespace| {
        let seconds = std::env::var(ROTATION_SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(45);
        let first = Replica::start(&namespace, "first", LIFETIMES).await?;
        let second = Replica::start(&namespace, "second", LIFETIMES).await?;
        register(&namespace, &[&first, &second]).await?;
        until_so("the first call to go through", || async { Ok(call(&namespace).await.is_ok()) }).await?;

        let end = Instant::now() + Duration::from_secs(seconds);
        let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(namespace.clone(), end))).collect();
        let mut story = Story::default();
        while Instant::now() < end {
            story.look(&namespace, &[&first, &second]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut calls, mut refused) = (0, Vec::new());
        for load in loads {
            let (more, failures) = load.await?;
            calls += more;
            refused.extend(failures);
        }
        let held = bundles(&namespace).await?;
        unregister(&namespace).await?;
        let (leaves, authorities) = (story.leaves.len(), story.authorities.len());
        let (excused, refused): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|refused| refused.in_a_stall(&story.stalls));
        println!(
            "{calls} calls, {} refused, {} more while the machine stood still; {leaves} leaves, {authorities} authorities",
            refused.len(),
            excused.len()
        );
        let lines = refused.iter().map(|call| format!("{} to {}: {}", call.began, call.ended, call.error));
        anyhow::ensure!(
            refused.is_empty(),
            "{} of {calls} refused:\n{}\n{}",
            refused.len(),
            lines.collect::<Vec<_>>().join("\n"),
            story.lines.join("\n")
        );
        if !story.stalls.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(u64::try_from(authorities)? >= seconds / 20, "too few authorities: {authorities}");
        anyhow::ensure!(u64::try_from(leaves)? >= seconds / 5, "too few leaves: {leaves}");
        anyhow::ensure!(held.len() == 2 && held[0] == held[1], "every entry holds one bundle");
        Ok(())
    })
    .await;
}
