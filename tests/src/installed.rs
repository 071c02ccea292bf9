//! The injector as `make install` installed it, and temporary changes of its configuration.
//!
//! A new configuration is applied by a rollout: the kubelet updates a changed ConfigMap in running pods within a minute or
//! two, a new replica starts with it.

use std::panic::AssertUnwindSafe;

use anyhow::Context;
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR};

use crate::wait::TIMEOUT;

const CONFIG: &str = "config.yaml";

/// The installed injector.
pub struct Installed {
    config_maps: Api<ConfigMap>,
    deployments: Api<Deployment>,
    pods: Api<Pod>,
}

impl Installed {
    pub fn in_cluster(client: &Client) -> Self {
        Self {
            config_maps: Api::namespaced(client.clone(), INJECTOR),
            deployments: Api::namespaced(client.clone(), INJECTOR),
            pods: Api::namespaced(client.clone(), INJECTOR),
        }
    }

    /// Runs `work` with the present configuration as argument, and restores it afterwards. No other test may use the
    /// injector at the same time.
    pub async fn put_back_after(
        &self,
        work: impl AsyncFnOnce(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let before = self.config_maps.get(INJECTOR).await.context("read the configuration")?;
        let before = before.data.unwrap_or_default().remove(CONFIG).unwrap_or_default();
        let done = AssertUnwindSafe(work(&before)).catch_unwind().await;
        self.configure(&before).await?;
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    }

    /// Applies this configuration and waits until every replica uses it.
    pub async fn configure(&self, config: &str) -> anyhow::Result<()> {
        let (params, data) = (PatchParams::default(), json!({ "data": { CONFIG: config } }));
        self.config_maps
            .patch(INJECTOR, &params, &Patch::Merge(data))
            .await
            .context("write the configuration")?;
        self.roll_out().await
    }

    /// Replaces every replica, as `kubectl rollout restart` does, and waits until the old ones have ended.
    pub async fn roll_out(&self) -> anyhow::Result<()> {
        let before = self.pods.list(&ListParams::default().labels(INJECTOR_SELECTOR)).await?;
        self.start_rollout().await?;
        let rollout = async {
            await_condition(self.deployments.clone(), INJECTOR, is_rolled_out()).await?;
            // A replica that drains still responds on its connections.
            for pod in before {
                let uid = pod.uid().unwrap_or_default();
                await_condition(self.pods.clone(), &pod.name_any(), conditions::is_deleted(&uid)).await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(TIMEOUT, rollout).await.context("wait for the rollout")?
    }

    /// Makes the kubelet update mounted volumes at once, by a change of each pod; otherwise it takes a minute or two.
    pub async fn refresh_mounts(&self) -> anyhow::Result<()> {
        let annotation =
            json!({ "metadata": { "annotations": { "workflow-tests/refreshed": Timestamp::now() } } });
        for pod in self.pods.list(&ListParams::default().labels(INJECTOR_SELECTOR)).await? {
            let patched =
                self.pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&annotation)).await;
            match patched {
                // It has ended.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                patched => drop(patched?),
            }
        }
        Ok(())
    }

    pub(crate) async fn start_rollout(&self) -> anyhow::Result<()> {
        let annotations = json!({ "workflow-tests/rolled-out": Timestamp::now() });
        let template = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
        self.deployments
            .patch(INJECTOR, &PatchParams::default(), &Patch::Merge(template))
            .await
            .map(drop)
            .context("start a rollout")
    }

    /// Reports whether every replica is ready and of the present template.
    pub(crate) async fn is_rolled_out(&self) -> anyhow::Result<bool> {
        let deployment = self.deployments.get(INJECTOR).await.context("read the Deployment")?;
        Ok(is_rolled_out().matches_object(Some(&deployment)))
    }
}

/// Waits until the registration is gone.
pub async fn until_unregistered(client: &Client) -> anyhow::Result<()> {
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let gone = await_condition(registrations, INJECTOR, |found: Option<&_>| found.is_none());
    tokio::time::timeout(TIMEOUT, gone).await.context("wait until the registration is gone")??;
    Ok(())
}

/// Reports whether every replica is of the present template and available, and none is left of another.
fn is_rolled_out() -> impl Condition<Deployment> {
    |deployment: Option<&Deployment>| {
        let Some(deployment) = deployment else { return false };
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        deployment.status.as_ref().is_some_and(|status| {
            status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == wanted
                && status.available_replicas == wanted
                && status.replicas == wanted
        })
    }
}
