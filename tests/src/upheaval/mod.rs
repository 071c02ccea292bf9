//! What is done to an installed injector in its life: updates, drained nodes, other leaders, new certificates, crashes.
//!
//! Each is carried out as the one who does it in earnest would, and ends when the injector is whole again: as many
//! ready replicas as the Deployment asks for. Replicas that were told to end may still be draining then.

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

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upheaval {
    /// `kubectl rollout restart`, and what an upgrade does.
    Rollout,
    /// A replica is evicted, as `kubectl drain` does.
    Eviction,
    /// The leader's pod is deleted.
    Deletion,
    /// The other replica gets the Lease.
    NewLeader,
    /// The leaf is renewed, as at two thirds of its life.
    NewLeaf,
    /// Another authority takes over, as at two thirds of its life: new one in every caBundle, settle time, its leaf
    /// served, old one forgotten.
    NewAuthority,
    /// The Secret with the certificates is deleted.
    LostSecret,
    /// The leader's process is killed by SIGKILL.
    Kill,
    /// The API server's process is killed by SIGKILL.
    ApiServer,
}

impl Upheaval {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rollout,
        Self::Eviction,
        Self::Deletion,
        Self::NewLeader,
        Self::NewLeaf,
        Self::NewAuthority,
        Self::LostSecret,
        Self::Kill,
        Self::ApiServer,
    ];

    /// Whether calls may be lost: nobody can answer for a process that was killed.
    pub fn is_a_crash(self) -> bool {
        matches!(self, Self::Kill | Self::ApiServer)
    }

    /// Whether it can be done with the rights of an admin of the cluster, without being on the node.
    pub fn is_remote(self) -> bool {
        !self.is_a_crash()
    }
}

impl fmt::Display for Upheaval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rollout => "rollout",
            Self::Eviction => "eviction",
            Self::Deletion => "deletion of the leader's pod",
            Self::NewLeader => "change of leader",
            Self::NewLeaf => "renewal of the leaf",
            Self::NewAuthority => "change of authority",
            Self::LostSecret => "deletion of the Secret",
            Self::Kill => "SIGKILL of the leader",
            Self::ApiServer => "SIGKILL of the API server",
        })
    }
}

/// Does them to the injector of one cluster.
pub struct Hand {
    cluster: Cluster,
    installed: Installed,
    /// The replicas.
    pub replicas: Replicas,
}

impl Hand {
    /// For the injector that is installed in this cluster.
    pub fn on(cluster: &Cluster) -> Self {
        let client = &cluster.client;
        Self {
            cluster: cluster.clone(),
            installed: Installed::in_cluster(client),
            replicas: Replicas::in_cluster(client),
        }
    }

    /// Does it and waits until the injector is whole again. Gives the replicas that were told to end.
    pub async fn cause(&self, upheaval: Upheaval) -> anyhow::Result<Vec<Pod>> {
        let cause = || format!("cause a {upheaval}");
        let before = self.replicas.leader_first().await.with_context(cause)?;
        let leaving = self.start(upheaval, &before).await.with_context(cause)?;
        self.whole_again().await.with_context(|| format!("after a {upheaval}"))?;
        Ok(before.into_iter().filter(|pod| leaving.contains(&pod.name_any())).collect())
    }

    /// As [`cause`](Self::cause), but for replicas that drain: waits until they have ended, too.
    pub async fn cause_to_the_end(&self, upheaval: Upheaval) -> anyhow::Result<()> {
        let leaving = self.cause(upheaval).await?;
        self.replicas.until_gone(&leaving).await
    }

    /// Waits until as many replicas are ready as are wanted, no other is of an older template, and one of them leads.
    pub async fn whole_again(&self) -> anyhow::Result<()> {
        until_so("the injector to be whole", || async {
            Ok(self.installed.is_rolled_out().await? && self.replicas.all_ready().await?)
        })
        .await?;
        self.replicas.leader_first().await.map(drop)
    }

    /// Memory that replicas use now, in bytes; nothing where their processes are out of reach.
    pub async fn memory(&self) -> anyhow::Result<Vec<u64>> {
        if !self.cluster.is_local() {
            return Ok(Vec::new());
        }
        let present = self.replicas.present().await?;
        Ok(present.iter().filter_map(process::of_replica).filter_map(process::memory).collect())
    }

    /// Starts it, where these are the replicas, the leader first. Gives the names of those that were told to end.
    async fn start(&self, upheaval: Upheaval, before: &[Pod]) -> anyhow::Result<Vec<String>> {
        let [leader, others @ ..] = before else { bail!("there is no leader") };
        let other = others.first().map(ResourceExt::name_any).context("there is no replica but the leader");
        match upheaval {
            Upheaval::Rollout => {
                self.installed.start_rollout().await?;
                return Ok(before.iter().map(ResourceExt::name_any).collect());
            }
            Upheaval::Eviction => {
                let other = other?;
                self.replicas.evict(&other).await?;
                return Ok(vec![other]);
            }
            Upheaval::Deletion => {
                self.replicas.delete(&leader.name_any()).await?;
                return Ok(vec![leader.name_any()]);
            }
            Upheaval::NewLeader => self.replicas.hand_over(&other?).await?,
            Upheaval::NewLeaf => certificate::renew_leaf(&self.cluster.client).await?,
            Upheaval::NewAuthority => certificate::change_authority(&self.cluster.client).await?,
            Upheaval::LostSecret => certificate::lose(&self.cluster.client).await?,
            Upheaval::Kill => {
                self.require_local()?;
                process::kill(process::of_replica(leader).context("the leader has no process here")?)?;
                self.replicas.until_restarted(leader).await?;
            }
            Upheaval::ApiServer => {
                self.require_local()?;
                self.restart_api_server().await?;
            }
        }
        Ok(Vec::new())
    }

    fn require_local(&self) -> anyhow::Result<()> {
        if self.cluster.is_local() {
            Ok(())
        } else {
            bail!("processes of another machine can't be killed from here")
        }
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
