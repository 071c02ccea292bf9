//! Reads the records of a session's runner through the API server's proxy to its pod.

use std::time::Duration;

use anyhow::Context;
use futures::AsyncReadExt;
use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;
use session_runner::{PORT, Post, Record};
use workflow_contract::names::runner_pod;

use crate::wait::TIMEOUT;

/// Time between attempts while a runner does not listen yet.
const PAUSE: Duration = Duration::from_millis(100);

/// A session's runner.
#[derive(Clone)]
pub struct Runner {
    client: Client,
    proxy: String,
}

impl Runner {
    /// The runner of `session`.
    pub fn of(client: Client, namespace: &str, session: &str) -> Self {
        let pod = runner_pod(session);
        Self { client, proxy: format!("/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy") }
    }

    /// Its record of its first instruction.
    pub async fn record(&self) -> anyhow::Result<Record> {
        self.json("record").await
    }

    /// The POSTs that it has received.
    pub async fn posts(&self) -> anyhow::Result<Vec<Post>> {
        self.json("posts").await
    }

    /// The present content of a file; `path` is relative to the workflow directory.
    pub async fn file(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let encoded: String = path.split('/').map(escape).collect::<Vec<_>>().join("/");
        self.get(&format!("files/{encoded}")).await
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let bytes = self.get(path).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("decode the runner's /{path}"))
    }

    /// Retries while the runner does not listen yet.
    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut last = None;
        let attempts = async {
            loop {
                match self.try_get(path).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(kube::Error::Api(status)) if status.code >= 500 => last = Some(status),
                    Err(error) => return Err(anyhow::Error::from(error)),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(TIMEOUT, attempts).await {
            Ok(response) => response.with_context(|| format!("get {}/{path}", self.proxy)),
            Err(_) => anyhow::bail!("{}/{path} did not respond; last error: {last:?}", self.proxy),
        }
    }

    async fn try_get(&self, path: &str) -> kube::Result<Vec<u8>> {
        let request = Request::get(format!("{}/{path}", self.proxy))
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let mut bytes = Vec::new();
        self.client
            .request_stream(request)
            .await?
            .read_to_end(&mut bytes)
            .await
            .map_err(kube::Error::ReadEvents)?;
        Ok(bytes)
    }
}

/// Percent-encodes a path segment.
fn escape(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encodes_path_segments() {
        assert_eq!(escape("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(escape("with space?ü"), "with%20space%3F%C3%BC");
    }
}
