//! Without a working injector only session pods with a workflow are denied.
//!
//! The registration is the installed one with another `clientConfig`. A pod that is created although the registration
//! fails closed was not delayed either: the webhook was not called.

use axum::Router;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, INJECTOR};
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::until_so;

use crate::common::{AdmissionEnv, client_config, denial, operator_pod, serve};

const URL: &str = "https://git.invalid/o/r.git";

/// Registers a webhook that can't be called, and creates one pod of each kind.
async fn expect_denials(name: &str, client_config: Value) -> anyhow::Result<()> {
    let env = AdmissionEnv::new(name).await?;
    env.register(INJECTOR, client_config).await?;
    let with = env.session(SessionBuilder::new("with").workflow(URL, "main")).await?;
    let with = operator_pod(&with);
    until_so("the registration to be in force", || async { Ok(env.dry_run(&with).await.is_err()) }).await?;

    let without = env.session(SessionBuilder::new("without")).await?;
    let mut of_another_app = with.clone();
    of_another_app["metadata"]["labels"] = json!({ APP_LABEL: APP_LABEL_VALUE });
    let plain = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "plain" },
        "spec": { "containers": [{ "name": "main", "image": "local.test/none:1" }] },
    });
    for pod in [operator_pod(&without), of_another_app, plain] {
        env.create(&pod, "").await?;
    }
    let message = denial(env.create(&with, "").await)?;
    assert!(message.contains("inject.workflow.ambient-code.io"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_replica_only_sessions_with_a_workflow_are_denied() -> anyhow::Result<()> {
    let ended = serve(Router::new()).await?;
    let client_config = ended.client_config()?;
    drop(ended);
    expect_denials("no-replica", client_config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_another_ca_only_sessions_with_a_workflow_are_denied() -> anyhow::Result<()> {
    let (server, other) = (serve(Router::new()).await?, serve(Router::new()).await?);
    let mut client_config = server.client_config()?;
    client_config["caBundle"] = other.client_config()?["caBundle"].take();
    expect_denials("other-ca", client_config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_service_only_sessions_with_a_workflow_are_denied() -> anyhow::Result<()> {
    let service = json!({ "name": INJECTOR, "namespace": INJECTOR, "path": "/mutate", "port": 443 });
    let bundle = client_config("", "")?["caBundle"].take();
    expect_denials("no-service", json!({ "service": service, "caBundle": bundle })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_can_be_debugged_and_deleted_without_a_replica() -> anyhow::Result<()> {
    let env = AdmissionEnv::new("running").await?;
    let injector = env.injector().await?;
    let session = env.session(SessionBuilder::new("s").workflow(URL, "main")).await?;
    let created = env.create(&operator_pod(&session), "").await?;
    drop(injector);

    let pods = env.namespace.api::<Pod>();
    let name = created["metadata"]["name"].as_str().unwrap_or_default();
    let debugger =
        json!({ "spec": { "ephemeralContainers": [{ "name": "debug", "image": "local.test/none:1" }] } });
    let patch = Patch::Strategic(debugger);
    pods.patch_ephemeral_containers(name, &PatchParams::default(), &patch).await?;
    pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}
