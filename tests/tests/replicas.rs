//! Two replicas behind a Service, fifty session pods a second, and one of the replicas is told to end or is killed, another
//! leads, certificates change.
//!
//! On an API server of the test's own, with the released program as processes. The test plays the controller of
//! endpoints, and plays it late: a replica that was told to end stays in the Service for a while.

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
use workflow_tests::endpoints;
use workflow_tests::load::{Load, RATE, Span};
use workflow_tests::lobby::{Lobby, Wish};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::released::{self, Injector, Running};
use workflow_tests::upheaval::{Replicas, certificate};
use workflow_tests::wait::until_so;

/// Our registration, as it is installed.
const REGISTRATION: &str = include_str!("../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// After a crash, for so long connections are found to be dead.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(1);
/// Sessions that are created in the midst of a crash.
const SESSIONS: usize = 20;
/// The replicas' names.
const REPLICAS: [&str; 2] = ["replica-0", "replica-1"];

struct Stage {
    client: Client,
    namespace: TestNamespace,
    address: IpAddr,
    injector: Injector,
    replicas: [Running; 2],
    load: Load,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    async fn set(name: &str) -> anyhow::Result<Self> {
        let (cluster, turn) = api_server::exclusive().await?;
        let (client, address) = (cluster.client.clone(), endpoints::address()?);
        let injector = Injector::install(&client, api_server::server()?, &released::program()?).await?;
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": INJECTOR }, "spec": { "ports": [{ "name": "https", "port": 443 }] },
        }))?;
        once(Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &service).await)?;
        let replicas =
            [injector.start(REPLICAS[0], address).await?, injector.start(REPLICAS[1], address).await?];
        endpoints::lead_to(&client, &replicas.each_ref().map(|replica| replica.https)).await?;
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

/// What the tests of this process share is made by the first.
fn once<K>(made: kube::Result<K>) -> kube::Result<()> {
    match made {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop),
    }
}

#[expect(clippy::print_stdout, reason = "what was counted; shown with --nocapture")]
fn tell(what: &str) {
    println!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_told_to_end_lose_no_call() -> anyhow::Result<()> {
    let mut stage = Stage::set("replicas-told").await?;
    let second = usize::try_from(RATE)?;
    stage.load.another(2 * second).await?;
    let before = stage.load.so_far();
    for at in 0..2 {
        let next = stage.injector.start(&format!("next-{at}"), stage.address).await?;
        endpoints::add(&stage.client, next.https).await?;
        let old = std::mem::replace(&mut stage.replicas[at], next);
        let endpoint = old.https;
        let ended = tokio::spawn(old.end());
        stage.load.another(2 * second).await?;
        endpoints::remove(&stage.client, endpoint).await?;
        ended.await??;
    }
    stage.load.another(2 * second).await?;
    let story = stage.load.stop().await?;
    tell(&format!("{story}; of these, before: {before}"));
    anyhow::ensure!(story.wrong().is_empty(), "{:?}", story.wrong());
    anyhow::ensure!(story.lost(&[]).is_empty(), "{story}\n{}", story.lost(&[]).join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_leader_and_certificates_lose_no_call() -> anyhow::Result<()> {
    let stage = Stage::set("replicas-changes").await?;
    let (client, second) = (&stage.client, usize::try_from(RATE)?);
    stage.load.another(2 * second).await?;
    let replicas = Replicas::in_cluster(client);
    let leader = replicas.leader().await?;
    let other = if leader == REPLICAS[0] { REPLICAS[1] } else { REPLICAS[0] };
    replicas.hand_over(other).await?;
    stage.load.another(second).await?;
    certificate::renew_leaf(client).await?;
    stage.load.another(second).await?;
    certificate::lose(client).await?;
    stage.load.another(second).await?;
    certificate::change_authority(client).await?;
    stage.load.another(2 * second).await?;
    let story = stage.load.stop().await?;
    tell(&story.to_string());
    anyhow::ensure!(story.wrong().is_empty(), "{:?}", story.wrong());
    anyhow::ensure!(story.lost(&[]).is_empty(), "{story}\n{}", story.lost(&[]).join("\n"));
    Ok(())
}

/// What a crash costs is refusals, while it lasts. Nobody's workflow or prompt is among it.
async fn costs_refusals_only(
    stage: Stage,
    crash: impl AsyncFnOnce(&Stage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let lobby = Lobby::open(stage.namespace.clone()).await?;
    let names: Vec<_> = (0..SESSIONS).map(|at| format!("s-{at}")).collect();
    stage.load.another(usize::try_from(2 * RATE)?).await?;
    let from = Timestamp::now();
    let created = async {
        for name in &names {
            lobby.create(name, Wish::Workflow).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(crash(&stage), created)?;
    let crash = Span { from, to: Timestamp::now() }.and(AFTERMATH);
    for name in &names {
        let wrong = lobby.waits(name).await?;
        anyhow::ensure!(wrong.is_empty(), "{name}: {}", wrong.join(", "));
    }
    stage.load.another(usize::try_from(2 * RATE)?).await?;
    let story = stage.load.stop().await?;
    tell(&format!("{story}; {} of {SESSIONS} sessions were refused at first", lobby.refused().len()));
    anyhow::ensure!(story.wrong().is_empty(), "{:?}", story.wrong());
    let lost = story.lost(&[crash]);
    anyhow::ensure!(lost.is_empty(), "{crash:?}: {story}\n{}", lost.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_costs_refusals_but_no_workflow_and_no_prompt() -> anyhow::Result<()> {
    let mut stage = Stage::set("replicas-killed").await?;
    let next = stage.injector.start("next-0", stage.address).await?;
    let killed = std::mem::replace(&mut stage.replicas[0], next);
    costs_refusals_only(stage, async |stage| {
        let endpoint = killed.https;
        killed.kill()?;
        // It takes some time until it is taken out of the Service.
        stage.load.another(usize::try_from(2 * RATE)?).await?;
        endpoints::remove(&stage.client, endpoint).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_costs_refusals_but_no_workflow_and_no_prompt() -> anyhow::Result<()> {
    let stage = Stage::set("replicas-api-server").await?;
    costs_refusals_only(stage, async |_| api_server::server()?.restart().await).await
}
