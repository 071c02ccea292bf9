//! What happens to pods when nobody answers for the injector: only session pods with a workflow notice.
//!
//! On an API server of the test's own, with our registration as it is installed, but for where it leads. A pod that is
//! created although the registration fails closed and leads nowhere was not delayed either: nobody was asked.

use axum::Router;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, INJECTOR};
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::until_so;

use crate::common::{Stage, client_config, operator_pod, refusal, serve};

const URL: &str = "https://git.invalid/o/r.git";

/// Registers the injector at a place where it is not, and creates one pod of each kind.
async fn only_sessions_with_a_workflow_are_refused(name: &str, leads_to: Value) -> anyhow::Result<()> {
    let stage = Stage::set(name).await?;
    stage.register(INJECTOR, leads_to).await?;
    let with = stage.session(SessionBuilder::new("with").workflow(URL, "main")).await?;
    let with = operator_pod(&with);
    until_so("the registration to be in force", || async { Ok(stage.dry_run(&with).await.is_err()) }).await?;

    let without = stage.session(SessionBuilder::new("without")).await?;
    let mut foreign = with.clone();
    foreign["metadata"]["labels"] = json!({ APP_LABEL: APP_LABEL_VALUE });
    let plain = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "plain" },
        "spec": { "containers": [{ "name": "main", "image": "local.test/none:1" }] },
    });
    for pod in [operator_pod(&without), foreign, plain] {
        stage.create(&pod, "").await?;
    }
    let message = refusal(stage.create(&with, "").await)?;
    assert!(message.contains("inject.workflow.ambient-code.io"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_replica_only_sessions_with_a_workflow_are_refused() -> anyhow::Result<()> {
    let ended = serve(Router::new()).await?;
    let leads_to = ended.client_config()?;
    drop(ended);
    only_sessions_with_a_workflow_are_refused("no-replica", leads_to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_another_authority_only_sessions_with_a_workflow_are_refused()
-> anyhow::Result<()> {
    let (served, other) = (serve(Router::new()).await?, serve(Router::new()).await?);
    let mut leads_to = served.client_config()?;
    leads_to["caBundle"] = other.client_config()?["caBundle"].take();
    only_sessions_with_a_workflow_are_refused("other-authority", leads_to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_service_only_sessions_with_a_workflow_are_refused() -> anyhow::Result<()> {
    let service = json!({ "name": INJECTOR, "namespace": INJECTOR, "path": "/mutate", "port": 443 });
    let mut leads_to = client_config("", "")?;
    leads_to = json!({ "service": service, "caBundle": leads_to["caBundle"].take() });
    only_sessions_with_a_workflow_are_refused("no-service", leads_to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_run_are_debugged_and_deleted_without_it() -> anyhow::Result<()> {
    let stage = Stage::set("running").await?;
    let injector = stage.injector().await?;
    let session = stage.session(SessionBuilder::new("s").workflow(URL, "main")).await?;
    let created = stage.create(&operator_pod(&session), "").await?;
    drop(injector);

    let pods = stage.namespace.api::<Pod>();
    let name = created["metadata"]["name"].as_str().unwrap_or_default();
    let debugger =
        json!({ "spec": { "ephemeralContainers": [{ "name": "debug", "image": "local.test/none:1" }] } });
    let patch = Patch::Strategic(debugger);
    pods.patch_ephemeral_containers(name, &PatchParams::default(), &patch).await?;
    pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}
