//! The overlays whose certificates come from others, on the real node: installed by `manifests/install`, rotated as the
//! kubelet shows it to the replicas, removed by `manifests/uninstall`. The issuers are played, see `issuer`.
//!
//! It is the only test of this program that uses the installed injector, which it restores at the end.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::FutureExt;
use jiff::Timestamp;
use kube::{Client, ResourceExt};
use workflow_contract::names::INJECTOR;
use workflow_tests::cluster::Cluster;
use workflow_tests::disruption::Replicas;
use workflow_tests::installed::Installed;
use workflow_tests::manifests::Kubectl;
use workflow_tests::wait::PATIENCE;

use crate::issuer::{Issuer, Way};
use crate::steps::{LOOK, Place, nothing};

/// When what this pod or Service serves expires, by its own metrics.
async fn expiry(client: &Client, path: &str) -> anyhow::Result<Option<i64>> {
    let path = format!("/api/v1/namespaces/{INJECTOR}/{path}/proxy/metrics");
    let metrics = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let mut lines = metrics.lines();
    let value =
        lines.find_map(|line| line.strip_prefix("workflow_injector_certificate_expiry_timestamp_seconds "));
    Ok(value.and_then(|value| value.parse().ok()))
}

/// Waits until every replica serves what expires then; from the change on, each call is answered by us.
async fn until_all_serve(place: &Place, not_after: Timestamp) -> anyhow::Result<()> {
    let (client, limit) = (&place.client, Instant::now() + PATIENCE);
    let (installed, replicas) = (Installed::in_cluster(client), Replicas::in_cluster(client));
    loop {
        installed.refresh_mounts().await?;
        let mut served = Vec::new();
        for pod in replicas.present().await? {
            served.push(expiry(client, &format!("pods/{}:8080", pod.name_any())).await?);
        }
        place.answered_by_us().await.with_context(|| format!("while {served:?} are served"))?;
        if served.len() == 2 && served.iter().all(|at| *at == Some(not_after.as_second())) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "replicas serve {served:?} instead of {}", not_after.as_second());
        tokio::time::sleep(LOOK).await;
    }
}

async fn story(way: Way, place: &Place) -> anyhow::Result<()> {
    let mut issuer = Issuer::new(way, place.client.clone())?;
    let environment = [("OVERLAY", way.overlay()), ("WITH", "monitoring freeze-running")];
    place.script("install", &environment, async || issuer.tend().await).await?;
    place.is_installed_by(&issuer).await?;
    let scraped = format!("services/{INJECTOR}-metrics:ops");
    assert!(expiry(&place.client, &scraped).await?.is_some(), "what is scraped has our metrics");

    let not_after = issuer.renew().await?;
    until_all_serve(place, not_after).await?;
    place.has_what_was_renewed_by(&issuer).await?;

    // Installed again, as for an upgrade: what the issuer wrote stays.
    place.script("install", &environment, nothing).await?;
    place.has_what_was_renewed_by(&issuer).await?;
    place.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(place.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_goes_with_certificates_of_others() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.require_injector().await?;
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster/kubeconfig");
    let is_local = std::env::var("CLUSTER").as_deref() != Ok("current");
    let place = Place {
        client: cluster.client.clone(),
        kubectl: Kubectl::local(),
        kubeconfig: is_local.then_some(local),
    };
    if let Some(name) = place.foreign_crd().await? {
        println!("skipped: the cluster has a {name} of its own");
        return Ok(());
    }
    place.stand_ins().await?;
    let stories = async {
        place.script("uninstall", &[], nothing).await?;
        assert_eq!(place.leftovers()?, Vec::<String>::new(), "self-managed");
        // OpenShift differs in what the issuer writes, not in what the kubelet does: see `issuers`.
        story(Way::CertManager, &place).await
    };
    let told = AssertUnwindSafe(stories).catch_unwind().await;
    let removed = place.script("uninstall", &[], nothing).await;
    let put_back = place.script("install", &[], nothing).await;
    place.remove_stand_ins().await.and(removed).and(put_back)?;
    told.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}
