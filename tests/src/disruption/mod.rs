//! Disruptions of an installed injector: updates, drained nodes, changes of the leader, new certificates, crashes.
//!
//! Each ends when the injector is healthy again, with all replicas of the Deployment ready. Replicas that are
//! being deleted may still drain then.

pub mod certificate;
mod process;
mod replicas;

use std::fmt;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::Cluster;
use crate::installed::Installed;
use crate::wait::until_so;

pub use replicas::Replicas;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disruption {
    /// `kubectl rollout restart`, as by an upgrade.
    Rollout,
    /// A replica is evicted, as `kubectl drain` does.
    Eviction,
    /// The leader's pod is deleted.
    Deletion,
    /// The Lease is transferred to the other replica.
    LeaderChange,
    /// The serving certificate is renewed, as at two thirds of its lifetime.
    CertificateRenewal,
    /// Another CA takes over, as at two thirds of its lifetime: added to every caBundle, settle time, its certificate
    /// served, old CA dropped.
    CaRotation,
    /// The Secret with the certificates is deleted.
    SecretDeletion,
    /// The leader's process is killed by SIGKILL.
    LeaderKill,
    /// The API server's process is killed by SIGKILL.
    ApiServerKill,
}

impl Disruption {
    pub const ALL: [Self; 9] = [
        Self::Rollout,
        Self::Eviction,
        Self::Deletion,
        Self::LeaderChange,
        Self::CertificateRenewal,
        Self::CaRotation,
        Self::SecretDeletion,
        Self::LeaderKill,
        Self::ApiServerKill,
    ];

    /// Reports whether requests may fail: a process that was killed responds to none.
    pub fn is_a_crash(self) -> bool {
        matches!(self, Self::LeaderKill | Self::ApiServerKill)
    }

    /// Reports whether an admin of the cluster can cause it without access to the node.
    pub fn is_remote(self) -> bool {
        !self.is_a_crash()
    }
}

impl fmt::Display for Disruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rollout => "rollout",
            Self::Eviction => "eviction",
            Self::Deletion => "deletion of the leader's pod",
            Self::LeaderChange => "change of leader",
            Self::CertificateRenewal => "renewal of the certificate",
            Self::CaRotation => "rotation of the CA",
            Self::SecretDeletion => "deletion of the Secret",
            Self::LeaderKill => "SIGKILL of the leader",
            Self::ApiServerKill => "SIGKILL of the API server",
        })
    }
}

/// Disrupts the injector of one cluster.
pub struct Disruptor {
    cluster: Cluster,
    installed: Installed,
    pub replicas: Replicas,
}

impl Disruptor {
    pub fn new(cluster: &Cluster) -> Self {
        let client = &cluster.client;
        Self {
            cluster: cluster.clone(),
            installed: Installed::in_cluster(client),
            replicas: Replicas::in_cluster(client),
        }
    }

    /// Causes a disruption and waits until the injector is healthy. Returns the replicas that are being deleted.
    pub async fn disrupt(&self, disruption: Disruption) -> anyhow::Result<Vec<Pod>> {
        let context = || format!("cause a {disruption}");
        let before = self.replicas.leader_first().await.with_context(context)?;
        let leaving = self.start(disruption, &before).await.with_context(context)?;
        self.wait_until_healthy().await.with_context(|| format!("after a {disruption}"))?;
        Ok(before.into_iter().filter(|pod| leaving.contains(&pod.name_any())).collect())
    }

    /// As [`disrupt`](Self::disrupt), but also waits until the deleted replicas have drained and ended.
    pub async fn disrupt_and_drain(&self, disruption: Disruption) -> anyhow::Result<()> {
        let leaving = self.disrupt(disruption).await?;
        self.replicas.until_gone(&leaving).await
    }

    /// Waits until all replicas are ready and of the present template, and one of them is the leader.
    pub async fn wait_until_healthy(&self) -> anyhow::Result<()> {
        until_so("the injector to be healthy", || async {
            Ok(self.installed.is_rolled_out().await? && self.replicas.all_ready().await?)
        })
        .await?;
        self.replicas.leader_first().await.map(drop)
    }

    /// Resident memory of each replica in bytes; empty for a cluster on other machines.
    pub async fn memory(&self) -> anyhow::Result<Vec<u64>> {
        if !self.cluster.is_local() {
            return Ok(Vec::new());
        }
        let present = self.replicas.present().await?;
        Ok(present.iter().filter_map(process::of_replica).filter_map(process::memory).collect())
    }

    /// Starts a disruption, given the replicas, the leader first. Returns the names of those that are being deleted.
    async fn start(&self, disruption: Disruption, before: &[Pod]) -> anyhow::Result<Vec<String>> {
        let [leader, others @ ..] = before else { bail!("there is no leader") };
        let other = others.first().map(ResourceExt::name_any).context("the leader is the only replica");
        match disruption {
            Disruption::Rollout => {
                self.installed.start_rollout().await?;
                return Ok(before.iter().map(ResourceExt::name_any).collect());
            }
            Disruption::Eviction => {
                let other = other?;
                self.replicas.evict(&other).await?;
                return Ok(vec![other]);
            }
            Disruption::Deletion => {
                self.replicas.delete(&leader.name_any()).await?;
                return Ok(vec![leader.name_any()]);
            }
            Disruption::LeaderChange => self.replicas.transfer_lease(&other?).await?,
            Disruption::CertificateRenewal => certificate::renew(&self.cluster.client).await?,
            Disruption::CaRotation => certificate::rotate_ca(&self.cluster.client).await?,
            Disruption::SecretDeletion => certificate::delete_secret(&self.cluster.client).await?,
            Disruption::LeaderKill => {
                self.require_local()?;
                process::kill(
                    process::of_replica(leader).context("the leader's process is not on this machine")?,
                )?;
                self.replicas.until_restarted(leader).await?;
            }
            Disruption::ApiServerKill => {
                self.require_local()?;
                self.restart_api_server().await?;
            }
        }
        Ok(Vec::new())
    }

    fn require_local(&self) -> anyhow::Result<()> {
        if self.cluster.is_local() { Ok(()) } else { bail!("processes of another machine can't be killed") }
    }

    async fn restart_api_server(&self) -> anyhow::Result<()> {
        let before = process::api_server().context("the node has no API server")?;
        process::kill(before)?;
        until_so("another API server", || async {
            Ok(process::api_server().is_some_and(|now| now != before))
        })
        .await?;
        until_so("the API server to be ready", || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(self.cluster.client.request_text(request).await.is_ok())
        })
        .await
    }
}
