//! The injector's replicas, and what an admin does to them.

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR};

use crate::wait::{PATIENCE, until_found, until_so};

/// The replicas of one cluster.
pub struct Replicas {
    pods: Api<Pod>,
    leases: Api<Lease>,
}

impl Replicas {
    /// Those that are installed in the cluster of this client.
    pub fn in_cluster(client: &Client) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), INJECTOR),
            leases: Api::namespaced(client.clone(), INJECTOR),
        }
    }

    /// Those that were not told to end.
    pub async fn present(&self) -> anyhow::Result<Vec<Pod>> {
        let all = self
            .pods
            .list(&ListParams::default().labels(INJECTOR_SELECTOR))
            .await
            .context("list the replicas")?;
        Ok(all.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Those that were not told to end, the leader first. Waits for it to be among them: one that was told to end may
    /// not have given the Lease back yet.
    pub(super) async fn leader_first(&self) -> anyhow::Result<Vec<Pod>> {
        until_found("a leader that stays", || async {
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

    /// Name of the one that holds the Lease; waits for one, as a leader that ends gives it back.
    pub async fn leader(&self) -> anyhow::Result<String> {
        until_found("a replica that leads", || self.holder()).await
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

    /// Makes another replica the leader, and waits until it acts as one.
    pub async fn hand_over(&self, to: &str) -> anyhow::Result<()> {
        // The leader may renew it meanwhile.
        let handed = until_found("the Lease to be handed over", || async {
            let mut lease = self.leases.get(INJECTOR).await?;
            lease.spec.get_or_insert_default().holder_identity = Some(to.to_owned());
            Ok(Some(self.leases.replace(INJECTOR, &PostParams::default(), &lease).await?))
        })
        .await?;
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        until_so("the other replica to renew the Lease", || async {
            let lease = self.leases.get(INJECTOR).await?;
            Ok(holder(&lease).as_deref() == Some(to) && renewed(&lease) != renewed(&handed))
        })
        .await
    }

    /// Waits until the container of this pod has been started once more and is ready.
    pub(super) async fn until_restarted(&self, before: &Pod) -> anyhow::Result<()> {
        until_so("the replica to be started again", || async {
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
        tokio::time::timeout(PATIENCE, all).await.context("replicas that were told to end do not end")?
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
