//! The injector may be installed before the platform's CRD.

use crate::env::{StatusEnv, session};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use workflow_contract::names::{SESSION_GROUP, SESSION_PLURAL};
use workflow_tests::wait::TIMEOUT;

#[tokio::test(flavor = "multi_thread")]
async fn becomes_ready_without_the_crd_and_watches_once_it_is_created() -> anyhow::Result<()> {
    let env = StatusEnv::new("early").await?;
    let crds: Api<CustomResourceDefinition> = Api::all(env.client.clone());
    let name = format!("{SESSION_PLURAL}.{SESSION_GROUP}");
    let uid = crds.get(&name).await?.metadata.uid.unwrap_or_default();
    crds.delete(&name, &DeleteParams::default()).await?;
    tokio::time::timeout(TIMEOUT, await_condition(crds, &name, conditions::is_deleted(&uid))).await??;

    // Waits until its caches are synced, as readiness does.
    let replica = env.replica(true).await?;

    env.install_crd().await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    drop(replica);
    Ok(())
}
