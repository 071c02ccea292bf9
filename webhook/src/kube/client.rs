//! The client of the API server that all commands and parts use.

use anyhow::Context;
use http::Response;
use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::util::MapResponseLayer;
use workflow_certs::Clock;

/// Returns the configuration of the cluster that the process runs in, else that of KUBECONFIG.
///
/// kube's own retries are off: they wait for up to minutes on a 429 or 503, where admission has two seconds, the status
/// controller has its own backoff, and `check` reports a 503.
pub async fn config() -> anyhow::Result<Config> {
    // kube's TLS uses the process-wide provider; a second call in one process changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = Config::infer().await.context("failed to find a cluster, set KUBECONFIG")?;
    config.default_retry = false;
    Ok(config)
}

/// Returns a client for the cluster of [`config`].
pub async fn connect() -> anyhow::Result<Client> {
    with(config().await?, &Clock::default())
}

/// Returns a client that sets `clock` by the responses of the API server.
pub fn with(config: Config, clock: &Clock) -> anyhow::Result<Client> {
    let clock = clock.clone();
    let observe = move |response: Response<_>| {
        if let Some(time) = date(&response) {
            clock.observe(time);
        }
        response
    };
    let builder = ClientBuilder::try_from(config).context("failed to set up the client of the API server")?;
    Ok(builder.with_layer(&MapResponseLayer::new(observe)).build())
}

fn date<B>(response: &Response<B>) -> Option<Timestamp> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    Some(rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_a_response() {
        let response = Response::builder().header(DATE, "Thu, 01 Jan 2026 00:00:00 GMT").body(()).unwrap();
        assert_eq!(date(&response), Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(date(&Response::new(())), None);
    }
}
