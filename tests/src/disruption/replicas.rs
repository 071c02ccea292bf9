//! The injector's replicas, and an admin's actions on them.

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR};

use crate::wait::{TIMEOUT, until_found, until_so};

/// The replicas in one cluster.
pub struct Replicas {
    pods: Api<Pod>,
    leases: Api<Lease>,
}

impl Replicas {
    pub fn in_cluster(client: &Client) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), INJECTOR),
            leases: Api::namespaced(client.clone(), INJECTOR),
        }
    }

    /// Replicas that are not being deleted.
    pub async fn present(&self) -> anyhow::Result<Vec<Pod>> {
        let all = self
            .pods
            .list(&ListParams::default().labels(INJECTOR_SELECTOR))
            .await
            .context("list the replicas")?;
        Ok(all.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Replicas that are not being deleted, the leader first. Waits until the leader is among them: a replica that is
    /// shutting down may still hold the Lease.
    pub(super) async fn leader_first(&self) -> anyhow::Result<Vec<Pod>> {
        until_found("a leader that is not being deleted", || async {
            let leader = self.holder().await?;
            let mut all = self.present().await?;
            let at = all.iter().position(|pod| Some(pod.name_any()) == leader);
            Ok(at.map(|at| {
                all.swap(0, at);
                all
            }))
        })
        .await
    }

    pub(super) async fn all_ready(&self) -> anyhow::Result<bool> {
        Ok(self.present().await?.iter().all(is_ready))
    }

    /// Name of the Lease's holder; waits for one, since a leader releases the Lease when it shuts down.
    pub async fn leader(&self) -> anyhow::Result<String> {
        until_found("a leader", || self.holder()).await
    }

    async fn holder(&self) -> anyhow::Result<Option<String>> {
        Ok(holder(&self.leases.get(INJECTOR).await.context("read the Lease")?))
    }

    pub(super) async fn evict(&self, name: &str) -> anyhow::Result<()> {
        self.pods.evict(name, &EvictParams::default()).await.map(drop).context("evict a replica")
    }

    pub(super) async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.pods.delete(name, &DeleteParams::default()).await.map(drop).context("delete a replica")
    }

    /// Makes another replica the leader, and waits until it renews the Lease.
    pub async fn transfer_lease(&self, to: &str) -> anyhow::Result<()> {
        // Retried on a conflict with a renewal by the leader.
        let transferred = until_found("the Lease to be transferred", || async {
            let mut lease = self.leases.get(INJECTOR).await?;
            lease.spec.get_or_insert_default().holder_identity = Some(to.to_owned());
            Ok(Some(self.leases.replace(INJECTOR, &PostParams::default(), &lease).await?))
        })
        .await?;
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        until_so("the other replica to renew the Lease", || async {
            let lease = self.leases.get(INJECTOR).await?;
            Ok(holder(&lease).as_deref() == Some(to) && renewed(&lease) != renewed(&transferred))
        })
        .await
    }

    /// Waits until the container of this pod is restarted and ready.
    pub(super) async fn until_restarted(&self, before: &Pod) -> anyhow::Result<()> {
        until_so("the replica to be restarted", || async {
            let now = self.pods.get(&before.name_any()).await?;
            Ok(restarts(&now) > restarts(before) && is_ready(&now))
        })
        .await
    }

    pub(super) async fn until_gone(&self, pods: &[Pod]) -> anyhow::Result<()> {
        let all = async {
            for pod in pods {
                let uid = pod.uid().unwrap_or_default();
                await_condition(self.pods.clone(), &pod.name_any(), conditions::is_deleted(&uid)).await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(TIMEOUT, all).await.context("deleted replicas do not end")?
    }
}

fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    statuses.unwrap_or_default().iter().map(|container| container.restart_count).sum()
}
