//! Two replicas behind a Service, fifty session pods a second, and one of the replicas is told to end or is killed, another
//! leads, certificates change.
//!
//! On an API server of the test's own, with the released program as processes. The test plays the controller of
//! endpoints, and plays it late: a replica that was told to end stays in the Service for a while.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context, bail};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use tokio::sync::MutexGuard;
use workflow_contract::names::INJECTOR;
use workflow_tests::api_server;
use workflow_tests::bench_status::injector::{Injector, Running};
use workflow_tests::load::{Load, RATE, Span};
use workflow_tests::lobby::{Lobby, Wish};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::upheaval::{Replicas, certificate};
use workflow_tests::wait::PATIENCE;

/// Our registration, as it is installed.
const REGISTRATION: &str = include_str!("../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// After a crash, for so long connections are found to be dead.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(1);
/// Sessions that are created in the midst of a crash.
const SESSIONS: usize = 20;

struct Stage {
    client: Client,
    namespace: TestNamespace,
    address: Ipv4Addr,
    injector: Injector,
    replicas: [Running; 2],
    load: Load,
    _turn: MutexGuard<'static, ()>,
}

/// The program, as it is released; what builds the images builds it.
fn program() -> anyhow::Result<PathBuf> {
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = format!("{checkout}/target/{}-unknown-linux-gnu/release/{INJECTOR}", std::env::consts::ARCH);
    PathBuf::from(&built).canonicalize().with_context(|| format!("{built} is missing: run `make build`"))
}

/// An address of this machine that may stand in an EndpointSlice, as one of loopback may not.
fn address() -> anyhow::Result<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent: this only asks which way it would go.
    socket.connect("192.0.2.1:9").context("this machine has no address but loopback")?;
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(*address.ip()),
        SocketAddr::V6(address) => bail!("{address} is no IPv4 address"),
    }
}

impl Stage {
    async fn set(name: &str) -> anyhow::Result<Self> {
        let (cluster, turn) = api_server::exclusive().await?;
        let (client, address) = (cluster.client.clone(), address()?);
        let injector = Injector::install(&client, api_server::server()?, &program()?).await?;
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": INJECTOR }, "spec": { "ports": [{ "name": "https", "port": 443 }] },
        }))?;
        once(Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &service).await)?;
        let (these, all) = (DeleteParams::default(), ListParams::default());
        slices(&client).delete_collection(&these, &all).await.context("remove the last test's endpoints")?;
        let replicas = [injector.start_as("replica-0", address)?, injector.start_as("replica-1", address)?];
        for (at, replica) in replicas.iter().enumerate() {
            replica.ready().await?;
            add(&client, at, address, replica).await?;
        }
        let registration: MutatingWebhookConfiguration = serde_saphyr::from_str(REGISTRATION)?;
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        once(registrations.create(&PostParams::default(), &registration).await)?;
        let namespace = TestNamespace::named(cluster, name).await?;
        let complete = |found: &MutatingWebhookConfiguration| {
            let bundles = found.webhooks.iter().flatten().map(|webhook| &webhook.client_config.ca_bundle);
            bundles.into_iter().all(Option::is_some)
        };
        let limit = tokio::time::Instant::now() + PATIENCE;
        while !complete(&registrations.get(INJECTOR).await?) {
            anyhow::ensure!(tokio::time::Instant::now() < limit, "nobody fills caBundle in");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
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

/// Puts a replica into the Service.
async fn add(client: &Client, at: usize, address: Ipv4Addr, replica: &Running) -> anyhow::Result<()> {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": { "name": slice(at), "labels": { "kubernetes.io/service-name": INJECTOR } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": replica.https, "protocol": "TCP" }],
    }))?;
    slices(client).create(&PostParams::default(), &slice).await.map(drop).context("add an endpoint")
}

/// Takes a replica out of the Service.
async fn remove(client: &Client, at: usize) -> anyhow::Result<()> {
    slices(client).delete(&slice(at), &DeleteParams::default()).await.map(drop).context("remove an endpoint")
}

fn slice(at: usize) -> String {
    format!("replica-{at}")
}

fn slices(client: &Client) -> Api<EndpointSlice> {
    Api::namespaced(client.clone(), INJECTOR)
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
        let mut next = stage.injector.start_as(&format!("next-{at}"), stage.address)?;
        next.ready().await?;
        add(&stage.client, at + 2, stage.address, &next).await?;
        std::mem::swap(&mut next, &mut stage.replicas[at]);
        next.terminate()?;
        stage.load.another(2 * second).await?;
        remove(&stage.client, at).await?;
        anyhow::ensure!(next.ended().await?, "it did not end well");
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
    let other = if leader == slice(0) { slice(1) } else { slice(0) };
    replicas.hand_over(&other).await?;
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
    let next = stage.injector.start_as("next-0", stage.address)?;
    let killed = std::mem::replace(&mut stage.replicas[0], next);
    costs_refusals_only(stage, async |stage| {
        killed.kill()?;
        // It takes some time until it is taken out of the Service.
        stage.load.another(usize::try_from(2 * RATE)?).await?;
        remove(&stage.client, 0).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_costs_refusals_but_no_workflow_and_no_prompt() -> anyhow::Result<()> {
    let stage = Stage::set("replicas-api-server").await?;
    costs_refusals_only(stage, async |_| api_server::server()?.restart().await).await
}
