//! The overlays whose certificates come from others, without a node: on an API server of the process with Kubernetes'
//! controllers for deletion, and cert-manager itself or a fake of service-ca. A fake kubelet writes the issuer's Secret into
//! the directory that a replica in this process serves from, as a mounted Secret is swapped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use workflow_certs::CertInfo;
use workflow_contract::names::INJECTOR;
use workflow_injector::cli::check::Scope;
use workflow_injector::replica;
use workflow_tests::cert_manager::CertManager;
use workflow_tests::cluster::Cluster;
use workflow_tests::installed::until_unregistered;
use workflow_tests::manifests::Kubectl;
use workflow_tests::wait::TIMEOUT;
use workflow_tests::{api_server, controllers};

use crate::installation::{Installation, kubectl};
use crate::issuer::Issuer;
use crate::service_ca::FakeServiceCa;
use crate::steps::{POLL, Target, nothing};

/// Writes the Secret that our Deployment mounts to this directory, as the kubelet does: all files at once, by one link.
async fn mount(client: &Client, directory: &Path) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), INJECTOR);
    let deployment: Value = serde_json::to_value(deployments.get(INJECTOR).await?)?;
    let mut volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    let name = volumes.find_map(|volume| volume["secret"]["secretName"].as_str());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), INJECTOR);
    let secret = secrets.get(name.context("no Secret is mounted")?).await?;
    let version = format!("..{}", secret.metadata.resource_version.unwrap_or_default());
    fs::create_dir(directory.join(&version))?;
    for (file, content) in secret.data.unwrap_or_default() {
        fs::write(directory.join(&version).join(&file), content.0)?;
        if !directory.join(&file).is_symlink() {
            symlink(format!("..data/{file}"), directory.join(&file))?;
        }
    }
    let before = fs::read_link(directory.join("..data")).ok();
    symlink(&version, directory.join("..data_tmp"))?;
    fs::rename(directory.join("..data_tmp"), directory.join("..data"))?;
    before.map_or(Ok(()), |before| Ok(fs::remove_dir_all(directory.join(before))?))
}

/// Reports both replicas of the Deployment as updated and available.
async fn roll_out(client: &Client) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), INJECTOR);
    let Some(found) = deployments.get_opt(INJECTOR).await? else { return Ok(()) };
    let status = json!({ "status": {
        "observedGeneration": found.metadata.generation,
        "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
    } });
    deployments.patch_status(INJECTOR, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// Applies a directory of the checkout and starts a replica with the certificate of this issuer.
async fn installed(
    directory: &str,
    tls: &Path,
    start: impl FnOnce(&Cluster) -> anyhow::Result<Issuer>,
) -> anyhow::Result<(Installation, Issuer)> {
    let mut issuer = None;
    let installation = Installation::from_directory(directory, async |cluster| {
        let new = start(cluster)?;
        new.until_issued().await?;
        mount(&cluster.client, tls).await?;
        issuer = Some(new);
        Ok(replica::Issuer::Other(tls.to_owned()))
    })
    .await?;
    Ok((installation, issuer.context("an issuer was started")?))
}

/// Waits until caBundle has the latest CA and, once mounted, the replica serves this certificate: first the Secret and
/// caBundle change, then, later, the mounted files. Each call is answered meanwhile.
async fn until_served(
    target: &Target,
    installation: &Installation,
    issuer: &Issuer,
    directory: &Path,
    renewed: &CertInfo,
) -> anyhow::Result<()> {
    target.expect_denial().await.context("while the old certificate is served")?;
    target.until_bundle_of(issuer).await?;
    target.expect_denial().await.context("while the old certificate is served under the new caBundle")?;
    mount(&target.client, directory).await?;
    let limit = Instant::now() + TIMEOUT;
    while installation.served().map(|served| served.serial).as_ref() != Some(&renewed.serial) {
        target.expect_denial().await?;
        ensure!(Instant::now() < limit, "the renewed certificate is not served");
        tokio::time::sleep(POLL).await;
    }
    target.expect_denial().await
}

async fn install_rotate_and_uninstall(
    overlay: &str,
    start: impl FnOnce(&Cluster) -> anyhow::Result<Issuer>,
) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (mut installation, mut issuer) =
        installed(&format!("manifests/overlays/{overlay}"), directory.path(), start).await?;
    let client = installation.client.clone();
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let target =
        Target { client: client.clone(), kubectl: Kubectl::with(&kubeconfig), kubeconfig: Some(kubeconfig) };

    let image = format!("{INJECTOR}:0.2.0");
    let environment = [
        ("OVERLAY", overlay),
        ("WITH", "monitoring freeze-running validate-sessions"),
        ("WORKFLOW_INJECTOR_IMAGE", image.as_str()),
        ("INIT_FETCHER_IMAGE", "init-fetcher:0.2.0"),
    ];
    let meanwhile = async || {
        roll_out(&client).await?;
        issuer.reconcile().await
    };
    target.script("install", &environment, meanwhile).await?;
    target.expect_installed_with(&issuer).await?;

    let renewed = issuer.renew().await?;
    until_served(&target, &installation, &issuer, directory.path(), &renewed).await?;
    if let Some(renewed) = issuer.replace_ca().await? {
        until_served(&target, &installation, &issuer, directory.path(), &renewed).await?;
        target.kubectl.run(&["-n", INJECTOR, "get", "certificates"], None)?;
    }

    target.script("install", &environment, async || roll_out(&client).await).await?;
    target.until_bundle_of(&issuer).await?;
    installation.end_replica();
    target.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(target.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Creates the CRDs of cert-manager and of Prometheus' operator, and starts Kubernetes' controllers.
async fn prepare() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let target = Target { client: cluster.client, kubectl: Kubectl::with(&kubeconfig), kubeconfig: None };
    target.create_crds().await?;
    controllers::start()
}

fn cert_manager(cluster: &Cluster) -> anyhow::Result<Issuer> {
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    Ok(Issuer::CertManager(CertManager::start(cluster.client.clone(), &kubeconfig)?))
}

fn service_ca(cluster: &Cluster) -> anyhow::Result<Issuer> {
    Ok(Issuer::ServiceCa(Box::new(FakeServiceCa::new(cluster.client.clone())?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_uninstalls_with_cert_manager() -> anyhow::Result<()> {
    prepare().await?;
    install_rotate_and_uninstall("cert-manager", cert_manager).await
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_uninstalls_with_service_ca() -> anyhow::Result<()> {
    prepare().await?;
    install_rotate_and_uninstall("openshift", service_ca).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_with_cert_manager_is_sound_and_leaves_nothing() -> anyhow::Result<()> {
    const EVERYTHING: &str = "manifests/complete/cert-manager";
    prepare().await?;
    let directory = tempfile::tempdir()?;
    let (mut installation, _issuer) = installed(EVERYTHING, directory.path(), cert_manager).await?;
    installation.expect_check(Scope::Everything, true, &[]).await?;

    // `replace` drops caBundle, which the cainjector fills again.
    kubectl(&["replace", "-k", "manifests/overlays/cert-manager/registration"])?;
    installation.expect_check(Scope::Everything, true, &[]).await?;

    let deleted = tokio::task::spawn_blocking(|| kubectl(&["delete", "--timeout=60s", "-k", EVERYTHING]));
    until_unregistered(&installation.client).await?;
    installation.end_replica();
    deleted.await??;
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let target =
        Target { client: installation.client.clone(), kubectl: Kubectl::with(&kubeconfig), kubeconfig: None };
    assert_eq!(target.leftovers()?, Vec::<String>::new());
    Ok(())
}
