//! As `issuers_on_node`, without a node: on an API server of the process with Kubernetes' controllers for deletion. A fake
//! kubelet writes the issuer's Secret into the directory that a replica in this process serves from, as a mounted Secret
//! is swapped.

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
use workflow_contract::names::INJECTOR;
use workflow_injector::replica;
use workflow_tests::manifests::Kubectl;
use workflow_tests::wait::TIMEOUT;
use workflow_tests::{api_server, controllers};

use crate::installation::Installation;
use crate::issuer::{FakeIssuer, IssuerKind};
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

async fn install_rotate_and_uninstall(kind: IssuerKind) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut issuer = None;
    let overlay = format!("manifests/overlays/{}", kind.overlay());
    let installation = Installation::from_directory(&overlay, async |cluster| {
        let new = FakeIssuer::new(kind, cluster.client.clone())?;
        new.reconcile().await?;
        mount(&cluster.client, directory.path()).await?;
        issuer = Some(new);
        Ok(replica::Issuer::Other(directory.path().to_owned()))
    });
    let mut installation = installation.await?;
    let mut issuer = issuer.context("an issuer was made")?;
    let client = installation.client.clone();
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let target =
        Target { client: client.clone(), kubectl: Kubectl::with(&kubeconfig), kubeconfig: Some(kubeconfig) };

    let image = format!("{INJECTOR}:0.2.0");
    let environment = [
        ("OVERLAY", kind.overlay()),
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

    // First caBundle, then the Secret, then, later, the mounted files: each call is answered meanwhile.
    let not_after = issuer.renew().await?;
    target.expect_denial().await.context("while the old serving certificate is served")?;
    mount(&client, directory.path()).await?;
    let limit = Instant::now() + TIMEOUT;
    while installation.served().map(|facts| facts.not_after) != Some(not_after) {
        target.expect_denial().await?;
        ensure!(Instant::now() < limit, "the renewed certificate is not served");
        tokio::time::sleep(POLL).await;
    }
    target.expect_denial().await?;
    target.expect_bundle_of(&issuer).await?;

    target.script("install", &environment, async || roll_out(&client).await).await?;
    target.expect_bundle_of(&issuer).await?;
    installation.end_replica();
    target.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(target.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Creates the CRDs of the issuers and of Prometheus' operator, and starts the controllers.
async fn prepare() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let target = Target { client: cluster.client, kubectl: Kubectl::with(&kubeconfig), kubeconfig: None };
    target.create_crds().await?;
    controllers::start()
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_uninstalls_with_cert_manager() -> anyhow::Result<()> {
    prepare().await?;
    install_rotate_and_uninstall(IssuerKind::CertManager).await
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_uninstalls_with_service_ca() -> anyhow::Result<()> {
    prepare().await?;
    install_rotate_and_uninstall(IssuerKind::OpenShift).await
}
