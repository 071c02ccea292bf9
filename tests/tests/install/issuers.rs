//! As `issuers_on_node`, without a node: an API server and the controllers that delete, of the test's own. The kubelet is played,
//! too: it writes what the issuer's Secret holds into the directory that a replica in this process serves from, as the kubelet
//! swaps a mounted Secret.

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
use workflow_tests::wait::PATIENCE;
use workflow_tests::{api_server, controllers};

use crate::installation::Installation;
use crate::issuer::{Issuer, Way};
use crate::steps::{LOOK, Place, nothing};

/// Shows the Secret that our Deployment mounts in this directory, as the kubelet does: all files at once, by one link.
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

/// Plays the Deployment's controller, whose replicas are always as they should be.
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

async fn story(way: Way) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut issuer = None;
    let installation = Installation::by(way.overlay(), async |client| {
        let new = Issuer::new(way, client.clone())?;
        new.tend().await?;
        mount(&client, directory.path()).await?;
        issuer = Some(new);
        Ok(replica::Issuer::Other(directory.path().to_owned()))
    });
    let mut installation = installation.await?;
    let mut issuer = issuer.context("an issuer was made")?;
    let client = installation.client.clone();
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let place =
        Place { client: client.clone(), kubectl: Kubectl::with(&kubeconfig), kubeconfig: Some(kubeconfig) };

    let image = format!("{INJECTOR}:0.1.0");
    let environment = [
        ("OVERLAY", way.overlay()),
        ("WITH", "monitoring freeze-running"),
        ("WORKFLOW_INJECTOR_IMAGE", image.as_str()),
        ("INIT_FETCHER_IMAGE", "init-fetcher:0.1.0"),
    ];
    let meanwhile = async || {
        roll_out(&client).await?;
        issuer.tend().await
    };
    place.script("install", &environment, meanwhile).await?;
    place.is_installed_by(&issuer).await?;

    // First caBundle, then the Secret, then, later, what is mounted: each call is answered by us all along.
    let not_after = issuer.renew().await?;
    place.answered_by_us().await.context("while the leaf of before is served")?;
    mount(&client, directory.path()).await?;
    let limit = Instant::now() + PATIENCE;
    while installation.served().map(|facts| facts.not_after) != Some(not_after) {
        place.answered_by_us().await?;
        ensure!(Instant::now() < limit, "the renewed certificate is not served");
        tokio::time::sleep(LOOK).await;
    }
    place.answered_by_us().await?;
    place.has_what_was_renewed_by(&issuer).await?;

    place.script("install", &environment, async || roll_out(&client).await).await?;
    place.has_what_was_renewed_by(&issuer).await?;
    installation.end_replica();
    place.script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(place.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Serves the CRDs that the issuers and Prometheus' operator would bring, and starts the controllers.
async fn prepare() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let kubeconfig = api_server::server()?.admin_kubeconfig_file()?;
    let place = Place { client: cluster.client, kubectl: Kubectl::with(&kubeconfig), kubeconfig: None };
    place.stand_ins().await?;
    controllers::start()
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_goes_with_cert_manager_played() -> anyhow::Result<()> {
    prepare().await?;
    story(Way::CertManager).await
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_goes_with_service_ca_played() -> anyhow::Result<()> {
    prepare().await?;
    story(Way::OpenShift).await
}
