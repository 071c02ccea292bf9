//! The overlays whose certificates come from others, on the real node: installed by `manifests/install`, rotated as the
//! kubelet mounts it in the replicas, removed by `manifests/uninstall`. The issuers are fakes, see `issuer`.
//!
//! The only test of this program that uses the installed injector, which it restores at the end.

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
use workflow_tests::wait::TIMEOUT;

use crate::issuer::{FakeIssuer, IssuerKind};
use crate::steps::{POLL, Target, nothing};

/// Expiry of the serving certificate in the metrics of this pod or Service, in seconds since the epoch.
async fn expiry(client: &Client, path: &str) -> anyhow::Result<Option<i64>> {
    let path = format!("/api/v1/namespaces/{INJECTOR}/{path}/proxy/metrics");
    let metrics = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let mut lines = metrics.lines();
    let value =
        lines.find_map(|line| line.strip_prefix("workflow_injector_certificate_expiry_timestamp_seconds "));
    Ok(value.and_then(|value| value.parse().ok()))
}

/// Waits until every replica serves the certificate with this expiry; each call must be answered meanwhile.
async fn until_all_serve(target: &Target, not_after: Timestamp) -> anyhow::Result<()> {
    let (client, limit) = (&target.client, Instant::now() + TIMEOUT);
    let (installed, replicas) = (Installed::in_cluster(client), Replicas::in_cluster(client));
    loop {
        installed.refresh_mounts().await?;
        let mut served = Vec::new();
        for pod in replicas.present().await? {
            served.push(expiry(client, &format!("pods/{}:8080", pod.name_any())).await?);
        }
        target.expect_denial().await.with_context(|| format!("while {served:?} are served"))?;
        if served.len() == 2 && served.iter().all(|at| *at == Some(not_after.as_second())) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "replicas serve {served:?} instead of {}", not_after.as_second());
        tokio::time::sleep(POLL).await;
    }
}

async fn install_rotate_and_uninstall(kind: IssuerKind, target: &Target) -> anyhow::Result<()> {
    let mut issuer = FakeIssuer::new(kind, target.client.clone())?;
    let environment = [("OVERLAY", kind.overlay()), ("WITH", "monitoring freeze-running")];
    target.script("install", &environment, async || issuer.reconcile().await).await?;
    target.expect_installed_with(&issuer).await?;
    let scraped = format!("services/{INJECTOR}-metrics:ops");
    assert!(expiry(&target.client, &scraped).await?.is_some(), "the scraped Service has our metrics");

    let not_after = issuer.renew().await?;
    until_all_serve(target, not_after).await?;
    target.expect_bundle_of(&issuer).await?;

    // Installed again, as for an upgrade: the issuer's fields stay.
    target.script("install", &environment, nothing).await?;
    target.expect_bundle_of(&issuer).await?;
    target.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(target.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_uninstalls_with_certificates_of_another_issuer() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.require_injector().await?;
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster/kubeconfig");
    let is_local = std::env::var("CLUSTER").as_deref() != Ok("current");
    let target = Target {
        client: cluster.client.clone(),
        kubectl: Kubectl::local(),
        kubeconfig: is_local.then_some(local),
    };
    if let Some(name) = target.existing_crd().await? {
        println!("skipped: the cluster has a {name} of its own");
        return Ok(());
    }
    target.create_crds().await?;
    let test = async {
        target.script("uninstall", &[], nothing).await?;
        assert_eq!(target.leftovers()?, Vec::<String>::new(), "self-managed");
        // For the kubelet OpenShift makes no difference: see `issuers`.
        install_rotate_and_uninstall(IssuerKind::CertManager, &target).await
    };
    let result = AssertUnwindSafe(test).catch_unwind().await;
    let uninstalled = target.script("uninstall", &[], nothing).await;
    let reinstalled = target.script("install", &[], nothing).await;
    target.delete_crds().await.and(uninstalled).and(reinstalled)?;
    result.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}
