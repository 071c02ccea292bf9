//! How the API server is reached, by all commands and parts.

use anyhow::Context;
use kube::{Client, Config};

/// The cluster that we run in, else the one of KUBECONFIG.
///
/// kube's own retries are off: they wait for up to minutes on a 429 or 503, where admission has two
/// seconds, the status controller has a back-off of its own, and for `check` a 503 is the answer.
///
/// # Errors
/// Where no cluster is configured.
pub async fn config() -> anyhow::Result<Config> {
    // kube's TLS takes the process-wide provider; a second call in one process changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = Config::infer().await.context("failed to find a cluster to talk to")?;
    config.default_retry = false;
    Ok(config)
}

/// A client for the cluster of [`config`].
///
/// # Errors
/// Where no cluster is configured, or certificates or credentials can't be used.
pub async fn connect() -> anyhow::Result<Client> {
    with(config().await?)
}

/// A client for this cluster.
///
/// # Errors
/// Where certificates or credentials can't be used.
pub fn with(config: Config) -> anyhow::Result<Client> {
    Client::try_from(config).context("failed to set up the client of the API server")
}
