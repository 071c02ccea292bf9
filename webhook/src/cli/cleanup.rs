//! `cleanup`: removes everything that the injector created at run time, registration first.
//!
//! A running leader would create Lease and Secret again, so the Deployment is scaled to zero in between, when no pod
//! depends on the webhook any more. Sessions, their conditions and the platform's CRD are left alone.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR, TLS_SECRET};

use super::untyped::untyped;

/// Time for replicas to stop: their drain period and some more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(2);
/// Time between two lists of the pods.
const POLL: Duration = Duration::from_millis(500);

/// Removes everything step by step and prints a line for each; it can be run again.
///
/// An error names the step that failed; later steps were not tried.
pub async fn run(client: Client, out: &mut impl Write) -> anyhow::Result<()> {
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let line = remove(&registrations, "MutatingWebhookConfiguration", INJECTOR).await?;
    writeln!(out, "{line}")?;
    if stop(&client).await? {
        writeln!(out, "stopped  Deployment {INJECTOR}")?;
    }
    let line = remove::<Secret>(&Api::namespaced(client.clone(), INJECTOR), "Secret", TLS_SECRET).await?;
    writeln!(out, "{line}")?;
    let line = remove::<Lease>(&Api::namespaced(client, INJECTOR), "Lease", INJECTOR).await?;
    writeln!(out, "{line}")?;
    Ok(())
}

async fn remove<K>(api: &Api<K>, kind: &str, name: &str) -> anyhow::Result<String>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(format!("removed  {kind} {name}")),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(format!("absent   {kind} {name}")),
        Err(error) => Err(error).with_context(|| {
            format!("failed to delete the {kind} {name}; run this with an admin's KUBECONFIG")
        }),
    }
}

/// Scales the Deployment to zero and waits until its pods are gone; returns false if there is none.
async fn stop(client: &Client) -> anyhow::Result<bool> {
    let deployments = untyped::<Deployment>(client, INJECTOR);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match deployments.patch(INJECTOR, &PatchParams::default(), &none).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
        Err(error) => return Err(error).context("failed to scale the Deployment to zero"),
    }
    let pods = untyped::<Pod>(client, INJECTOR);
    let ours = ListParams::default().labels(INJECTOR_SELECTOR);
    let gone = async {
        while !pods.list(&ours).await?.items.is_empty() {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, kube::Error>(())
    };
    tokio::time::timeout(SHUTDOWN_TIMEOUT, gone)
        .await
        .context("the replicas do not stop; kubectl -n workflow-injector describe pods")?
        .context("failed to list the injector's pods")?;
    Ok(true)
}
