//! The cluster of the tests and the demo: by default the local one of `make cluster-up`, with `CLUSTER=current` that of the
//! user's kubeconfig.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use workflow_contract::names::INJECTOR;
use workflow_git_server::address_facing;

/// The CRD of AgenticSession, which is installed if the cluster has none.
const CRD: &str = include_str!("../crds/agenticsessions.yaml");

/// Environment variable that overrides the address on which the git server is bound.
const GIT_SERVER_ADDRESS: &str = "GIT_SERVER_ADDRESS";

/// A cluster with the CRD installed.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    url: http::Uri,
    local: bool,
}

impl Cluster {
    /// Connects to the cluster and installs the CRD if it is missing.
    pub async fn connect() -> anyhow::Result<Self> {
        let local = match std::env::var("CLUSTER") {
            Ok(cluster) if cluster == "current" => false,
            Ok(cluster) if !cluster.is_empty() => {
                bail!(
                    "CLUSTER={cluster} is unknown: leave it unset for the local cluster, or set CLUSTER=current"
                )
            }
            _ => true,
        };
        let config = if local { local_config().await? } else { Config::infer().await? };
        Self::at(config, local).await
    }

    /// Connects with this configuration and installs the CRD if it is missing.
    pub(crate) async fn at(mut config: Config, local: bool) -> anyhow::Result<Self> {
        // 503 is not retried: the API server's proxy returns it while a runner does not listen.
        config.default_retry = false;
        let url = config.cluster_url.clone();
        let client = Client::try_from(config)?;
        let cluster = Self { client, url, local };
        cluster.ensure_crd().await.with_context(|| format!("use the cluster at {}", cluster.url))?;
        Ok(cluster)
    }

    /// Reports whether the node is on this machine.
    pub fn is_local(&self) -> bool {
        self.local
    }

    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// The kubectl command line for this cluster.
    pub fn kubectl(&self) -> &'static str {
        if self.local {
            "target/cluster/bin/kubectl --kubeconfig target/cluster/kubeconfig"
        } else {
            "kubectl"
        }
    }

    /// An address of this machine that pods of the cluster can reach.
    pub fn git_server_address(&self) -> anyhow::Result<IpAddr> {
        if let Some(address) = std::env::var(GIT_SERVER_ADDRESS).ok().filter(|address| !address.is_empty()) {
            return address
                .parse()
                .with_context(|| format!("{GIT_SERVER_ADDRESS}={address} is no IP address"));
        }
        let host = self.url.host().context("the API server's URL has no host")?;
        address_facing(host, self.url.port_u16().unwrap_or(443))
            .with_context(|| format!("no route to the API server at {host}; set {GIT_SERVER_ADDRESS}"))
    }

    /// Fails unless the injector is registered.
    pub async fn require_injector(&self) -> anyhow::Result<()> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = registrations.get_opt(INJECTOR).await.context("read the registration")?;
        found
            .map(drop)
            .with_context(|| format!("{INJECTOR} is not installed in this cluster: run `make install`"))
    }

    /// Creates the CRD if there is none: the platform's own is never changed.
    pub async fn ensure_crd(&self) -> anyhow::Result<()> {
        let crd: CustomResourceDefinition = serde_saphyr::from_str(CRD).context("the CRD can't be read")?;
        let name = crd.metadata.name.clone().unwrap_or_default();
        let crds = Api::all(self.client.clone());
        match crds.create(&PostParams::default(), &crd).await {
            Ok(_) => (),
            Err(kube::Error::Api(status)) if status.is_already_exists() => (),
            Err(error) => return Err(error).context("create the CRD of AgenticSession"),
        }
        await_condition(crds, &name, conditions::is_crd_established()).await?;
        Ok(())
    }
}

/// The root of the checkout that this program was built from.
pub(crate) fn checkout() -> &'static Path {
    let own_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    own_directory.parent().unwrap_or(own_directory)
}

async fn local_config() -> anyhow::Result<Config> {
    let path: PathBuf = checkout().join("target/cluster/kubeconfig");
    let kubeconfig = Kubeconfig::read_from(&path)
        .context("there is no local cluster: run `make cluster-up`, or use your own with CLUSTER=current")?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crd_matches_the_names_of_the_contract() {
        let crd: CustomResourceDefinition = serde_saphyr::from_str(CRD).unwrap();
        let resource = crate::session::resource();
        assert_eq!(crd.spec.group, resource.group);
        assert_eq!(crd.spec.names.kind, resource.kind);
        assert_eq!(crd.spec.names.plural, resource.plural);
        assert_eq!(crd.spec.names.short_names, Some(vec!["as".to_owned()]));
        assert_eq!(crd.spec.versions[0].name, resource.version);
    }
}
