//! cert-manager on the real node: it issues the certificates of an installation by `manifests/install`, which session pods
//! then use, and renews them under load as the kubelet mounts them. For the kubelet OpenShift makes no difference: see `issuers`.
//!
//! The only test of this program that uses the installed injector, which it restores at the end.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use futures::FutureExt;
use jiff::Timestamp;
use kube::{Client, ResourceExt};
use workflow_contract::names::INJECTOR;
use workflow_tests::cert_manager::CertManager;
use workflow_tests::disruption::Replicas;
use workflow_tests::env::TestEnv;
use workflow_tests::installed::Installed;
use workflow_tests::load;
use workflow_tests::manifests::Kubectl;
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::Mode;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::TIMEOUT;

use crate::installation::CHECKOUT;
use crate::issuer::Issuer;
use crate::steps::{POLL, Target, nothing};

fn kubeconfig() -> PathBuf {
    Path::new(CHECKOUT).join("target/cluster/kubeconfig")
}

/// Expiry of the serving certificate in the metrics of this pod or Service, in seconds since the epoch.
async fn expiry(client: &Client, path: &str) -> anyhow::Result<Option<i64>> {
    let path = format!("/api/v1/namespaces/{INJECTOR}/{path}/proxy/metrics");
    let metrics = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let mut lines = metrics.lines();
    let value =
        lines.find_map(|line| line.strip_prefix("workflow_injector_certificate_expiry_timestamp_seconds "));
    Ok(value.and_then(|value| value.parse().ok()))
}

/// Waits until every replica serves the certificate with this expiry.
async fn until_all_serve(client: &Client, not_after: Timestamp) -> anyhow::Result<()> {
    let limit = Instant::now() + TIMEOUT;
    let (installed, replicas) = (Installed::in_cluster(client), Replicas::in_cluster(client));
    loop {
        installed.refresh_mounts().await?;
        let mut served = Vec::new();
        for pod in replicas.present().await? {
            served.push(expiry(client, &format!("pods/{}:8080", pod.name_any())).await?);
        }
        if served.len() == 2 && served.iter().all(|at| *at == Some(not_after.as_second())) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "replicas serve {served:?} instead of {}", not_after.as_second());
        tokio::time::sleep(POLL).await;
    }
}

/// Renews CA and serving certificate under fifty session pods a second, none of which may be denied.
async fn rotate(namespace: &TestNamespace, target: &Target, issuer: &mut Issuer) -> anyhow::Result<()> {
    let rotation = async {
        let renewed = issuer.renew().await?;
        until_all_serve(&target.client, renewed.not_after).await
    };
    let report = load::during(namespace, Box::pin(rotation)).await?;
    let problems = [report.violations(), report.failures(&[])].concat();
    ensure!(problems.is_empty(), "{report}\n{}", problems.join("\n"));
    target.until_bundle_of(issuer).await
}

async fn install_rotate_and_uninstall(namespace: TestNamespace, target: &Target) -> anyhow::Result<()> {
    let mut issuer = Issuer::CertManager(CertManager::start(target.client.clone(), &kubeconfig())?);
    let environment = [("OVERLAY", "cert-manager"), ("WITH", "monitoring freeze-running")];
    target.script("install", &environment, nothing).await?;
    target.expect_installed_with(&issuer).await?;
    let scraped = format!("services/{INJECTOR}-metrics:ops");
    assert!(expiry(&target.client, &scraped).await?.is_some(), "the scraped Service has our metrics");

    rotate(&namespace, target, &mut issuer).await?;
    let env = TestEnv::new(namespace, Mode::PostRunning).await?;
    let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
    env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
    env.until_reason("s", "Reconciled").await?;
    env.delete("s").await?;

    // Installed again, as for an upgrade: the issuer's fields stay.
    target.script("install", &environment, nothing).await?;
    target.until_bundle_of(&issuer).await?;
    target.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(target.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cert_manager_issues_and_renews_under_load_and_denies_no_pod() {
    with_namespace(|namespace| async move {
        namespace.cluster.require_injector().await?;
        if !namespace.cluster.is_local() {
            // A test does not run cert-manager in another's cluster.
            return Ok(());
        }
        let target = Target {
            client: namespace.cluster.client.clone(),
            kubectl: Kubectl::local(),
            kubeconfig: Some(kubeconfig()),
        };
        target.create_crds().await?;
        let test = async {
            target.script("uninstall", &[], nothing).await?;
            assert_eq!(target.leftovers()?, Vec::<String>::new(), "self-managed");
            install_rotate_and_uninstall(namespace, &target).await
        };
        let result = AssertUnwindSafe(test).catch_unwind().await;
        let uninstalled = target.script("uninstall", &[("OVERLAY", "cert-manager")], nothing).await;
        let reinstalled = target.script("install", &[], nothing).await;
        target.delete_crds().await.and(uninstalled).and(reinstalled)?;
        result.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    })
    .await;
}
