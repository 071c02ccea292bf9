//! Certificates, election and CA bundle on an API server of the process.

mod external_issuer;
mod replica;
mod rotation;
mod takeover;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use workflow_certs::{Lifetimes, store};
use workflow_contract::names::TLS_SECRET;
use workflow_tests::api_server;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::wait::{TIMEOUT, until_so};

use replica::{Replica, bundles, register, registrations, unregister};

/// Creates a ConfigMap with `dryRun`: it passes admission and is not stored.
async fn call(namespace: &TestNamespace) -> kube::Result<()> {
    let map: ConfigMap = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("call".to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    namespace.api::<ConfigMap>().create(&params, &map).await.map(drop)
}

async fn stored(namespace: &TestNamespace) -> anyhow::Result<Option<Secret>> {
    Ok(namespace.api::<Secret>().get_opt(TLS_SECRET).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_restores_a_lost_or_damaged_secret_and_bundle() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let namespace = TestNamespace::named(cluster, "recovery").await?;
    let first = Replica::start(&namespace, "first", Lifetimes::default()).await?;
    let second = Replica::start(&namespace, "second", Lifetimes::default()).await?;
    register(&namespace, &[&first, &second]).await?;
    until_so("the first call to succeed", || async { Ok(call(&namespace).await.is_ok()) }).await?;
    let secrets = namespace.api::<Secret>();
    let good = secrets.get(TLS_SECRET).await?.data;
    let registered = bundles(&namespace).await?;
    let serial = |replica: &Replica| replica.resolver.info().map(|info| info.serial);
    let served = serial(&first);
    anyhow::ensure!(served.is_some() && served == serial(&second), "both serve one certificate");

    secrets.delete(TLS_SECRET, &DeleteParams::default()).await?;
    until_so("a deleted Secret to be created again", || async {
        Ok(stored(&namespace).await?.is_some_and(|secret| secret.data == good))
    })
    .await?;

    let damage = json!({"stringData": {store::KEY: "no key"}});
    secrets.patch(TLS_SECRET, &PatchParams::default(), &Patch::Merge(damage)).await?;
    until_so("a damaged Secret to be repaired", || async {
        Ok(stored(&namespace).await?.is_some_and(|secret| secret.data == good))
    })
    .await?;

    let empty = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]);
    let patch = Patch::Json::<()>(serde_json::from_value(empty)?);
    registrations(&namespace).patch(&namespace.name, &PatchParams::default(), &patch).await?;
    until_so("a removed caBundle to be filled again", || async {
        Ok(bundles(&namespace).await? == registered)
    })
    .await?;

    let owners = registrations(&namespace).get(&namespace.name).await?.metadata.owner_references;
    unregister(&namespace).await?;
    anyhow::ensure!(serial(&first) == served && serial(&second) == served, "the same certificate is served");
    anyhow::ensure!(owners.is_some_and(|owners| owners[0].kind == "Namespace"), "the namespace owns it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_another_takes_over_when_it_stops() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let namespace = TestNamespace::named(cluster, "handover").await?;
    let mut first = Replica::start(&namespace, "first", Lifetimes::default()).await?;
    tokio::time::timeout(TIMEOUT, first.leading.wait_for(|leads| *leads)).await??;
    let mut second = Replica::start(&namespace, "second", Lifetimes::default()).await?;
    until_so("the second to serve", || async { Ok(second.resolver.info().is_some()) }).await?;
    anyhow::ensure!(*first.leading.borrow() && !*second.leading.borrow(), "the first still leads alone");

    let served = second.resolver.info();
    first.stop().await?;
    tokio::time::timeout(TIMEOUT, second.leading.wait_for(|leads| *leads)).await??;
    anyhow::ensure!(second.resolver.info() == served, "a new leader keeps the certificate");
    Ok(())
}
