//! `cleanup`: removes what the injector made at run time, registration first.
//!
//! While replicas run, the leader would make Lease and Secret anew, so the Deployment is scaled to
//! nothing in between: after the registration is gone, when nobody depends on an answer any more.
//! Sessions, their conditions and the platform's CRD are left as they are.

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

use super::untyped;

/// How long replicas may take to end: their drain period and some more.
const PODS_GONE: Duration = Duration::from_mins(2);
/// Time between two looks at the pods.
const LOOK: Duration = Duration::from_millis(500);

/// Removes everything, each step only after the one before, and prints a line for each. What is not
/// there needs no removal, so it can be run again.
///
/// # Errors
/// The step that failed; those after it were not tried.
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

/// Scales the Deployment to nothing and waits for its pods to go; false where there is none.
async fn stop(client: &Client) -> anyhow::Result<bool> {
    let deployments = untyped::<Deployment>(client, INJECTOR);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match deployments.patch(INJECTOR, &PatchParams::default(), &none).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
        Err(error) => return Err(error).context("failed to scale the Deployment to nothing"),
    }
    let pods = untyped::<Pod>(client, INJECTOR);
    let ours = ListParams::default().labels(INJECTOR_SELECTOR);
    let gone = async {
        while !pods.list(&ours).await?.items.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<_, kube::Error>(())
    };
    tokio::time::timeout(PODS_GONE, gone)
        .await
        .context("the replicas do not end; kubectl -n workflow-injector describe pods")?
        .context("failed to list the injector's pods")?;
    Ok(true)
}
