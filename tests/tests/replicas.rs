//! Two replicas behind a Service under fifty session pods a second, while replicas end or are killed, the leader changes
//! and certificates rotate.
//!
//! Runs on an API server of its own, with the released program as processes. The test acts as the endpoints controller,
//! with a delay: a replica that is ending stays in the Service for a while.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::sync::MutexGuard;
use workflow_contract::names::INJECTOR;
use workflow_tests::api_server;
use workflow_tests::disruption::{Replicas, certificate};
use workflow_tests::endpoints;
use workflow_tests::load::{Load, RATE, Span};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::released::{self, Injector, Running};
use workflow_tests::session_pool::{ExpectedOutcome, SessionPool};
use workflow_tests::wait::until_so;

/// The registration as it is installed.
const REGISTRATION: &str = include_str!("../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// Time after a crash in which broken connections are detected.
const CRASH_RECOVERY: SignedDuration = SignedDuration::from_secs(1);
/// Sessions that are created during a crash.
const SESSIONS: usize = 20;
/// The replicas' names.
const REPLICAS: [&str; 2] = ["replica-0", "replica-1"];

struct Installation {
    client: Client,
    namespace: TestNamespace,
    address: IpAddr,
    injector: Injector,
    replicas: [Running; 2],
    load: Load,
    _turn: MutexGuard<'static, ()>,
}

impl Installation {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let (cluster, turn) = api_server::exclusive().await?;
        let (client, address) = (cluster.client.clone(), endpoints::address()?);
        let injector = Injector::install(&client, api_server::server()?, &released::program()?).await?;
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": INJECTOR }, "spec": { "ports": [{ "name": "https", "port": 443 }] },
        }))?;
        once(Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &service).await)?;
        let replicas =
            [injector.start(REPLICAS[0], address).await?, injector.start(REPLICAS[1], address).await?];
        endpoints::set(&client, &replicas.each_ref().map(|replica| replica.https)).await?;
        let registration: MutatingWebhookConfiguration = serde_saphyr::from_str(REGISTRATION)?;
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        once(registrations.create(&PostParams::default(), &registration).await)?;
        let namespace = TestNamespace::named(cluster, name).await?;
        let complete = |found: &MutatingWebhookConfiguration| {
            let bundles = found.webhooks.iter().flatten().map(|webhook| &webhook.client_config.ca_bundle);
            bundles.into_iter().all(Option::is_some)
        };
        until_so("caBundle to be filled in", || async { Ok(complete(&registrations.get(INJECTOR).await?)) })
            .await?;
        let load = Load::start(&namespace).await?;
        Ok(Self { client, namespace, address, injector, replicas, load, _turn: turn })
    }
}

/// Ignores that an object exists: the tests of this process share some.
fn once<K>(made: kube::Result<K>) -> kube::Result<()> {
    match made {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop),
    }
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn print(text: &str) {
    println!("{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_replicas_lose_no_request() -> anyhow::Result<()> {
    let mut installation = Installation::new("replicas-told").await?;
    let second = usize::try_from(RATE)?;
    installation.load.wait_for(2 * second).await?;
    let before = installation.load.so_far();
    for at in 0..2 {
        let next = installation.injector.start(&format!("next-{at}"), installation.address).await?;
        endpoints::add(&installation.client, next.https).await?;
        let old = std::mem::replace(&mut installation.replicas[at], next);
        let endpoint = old.https;
        let ended = tokio::spawn(old.end());
        installation.load.wait_for(2 * second).await?;
        endpoints::remove(&installation.client, endpoint).await?;
        ended.await??;
    }
    installation.load.wait_for(2 * second).await?;
    let report = installation.load.stop().await?;
    print(&format!("{report}; of these, before: {before}"));
    anyhow::ensure!(report.violations().is_empty(), "{:?}", report.violations());
    anyhow::ensure!(report.failures(&[]).is_empty(), "{report}\n{}", report.failures(&[]).join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_leader_and_certificates_lose_no_request() -> anyhow::Result<()> {
    let installation = Installation::new("replicas-changes").await?;
    let (client, second) = (&installation.client, usize::try_from(RATE)?);
    installation.load.wait_for(2 * second).await?;
    let replicas = Replicas::in_cluster(client);
    let leader = replicas.leader().await?;
    let other = if leader == REPLICAS[0] { REPLICAS[1] } else { REPLICAS[0] };
    replicas.transfer_lease(other).await?;
    installation.load.wait_for(second).await?;
    certificate::renew(client).await?;
    installation.load.wait_for(second).await?;
    certificate::delete_secret(client).await?;
    installation.load.wait_for(second).await?;
    certificate::rotate_ca(client).await?;
    installation.load.wait_for(2 * second).await?;
    let report = installation.load.stop().await?;
    print(&report.to_string());
    anyhow::ensure!(report.violations().is_empty(), "{:?}", report.violations());
    anyhow::ensure!(report.failures(&[]).is_empty(), "{report}\n{}", report.failures(&[]).join("\n"));
    Ok(())
}

async fn costs_denials_only(
    installation: Installation,
    crash: impl AsyncFnOnce(&Installation) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let pool = SessionPool::new(installation.namespace.clone()).await?;
    let names: Vec<_> = (0..SESSIONS).map(|at| format!("s-{at}")).collect();
    installation.load.wait_for(usize::try_from(2 * RATE)?).await?;
    let from = Timestamp::now();
    let created = async {
        for name in &names {
            pool.create(name, ExpectedOutcome::Delivered).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(crash(&installation), created)?;
    let crash = Span { from, to: Timestamp::now() }.extended(CRASH_RECOVERY);
    for name in &names {
        let problems = pool.wait_until_held(name).await?;
        anyhow::ensure!(problems.is_empty(), "{name}: {}", problems.join(", "));
    }
    installation.load.wait_for(usize::try_from(2 * RATE)?).await?;
    let report = installation.load.stop().await?;
    print(&format!("{report}; {} of {SESSIONS} sessions were denied at first", pool.denied().len()));
    anyhow::ensure!(report.violations().is_empty(), "{:?}", report.violations());
    let failures = report.failures(&[crash]);
    anyhow::ensure!(failures.is_empty(), "{crash:?}: {report}\n{}", failures.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replica_costs_denials_but_no_workflow_and_no_prompt() -> anyhow::Result<()> {
    let mut installation = Installation::new("replicas-killed").await?;
    let next = installation.injector.start("next-0", installation.address).await?;
    let killed = std::mem::replace(&mut installation.replicas[0], next);
    costs_denials_only(installation, async |installation| {
        let endpoint = killed.https;
        killed.kill()?;
        // The endpoints controller needs some time.
        installation.load.wait_for(usize::try_from(2 * RATE)?).await?;
        endpoints::remove(&installation.client, endpoint).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_api_server_costs_denials_but_no_workflow_and_no_prompt() -> anyhow::Result<()> {
    let installation = Installation::new("replicas-api-server").await?;
    costs_denials_only(installation, async |_| api_server::server()?.restart().await).await
}
