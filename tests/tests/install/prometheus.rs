//! A Prometheus that scrapes one replica.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, ensure};
use http::Request;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use workflow_tests::wait::until_so;

use crate::installation::CHECKOUT;

/// The server; it ends when this is dropped.
pub struct Prometheus {
    client: Client,
    _process: Child,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes `target` and evaluates `rules` at short intervals.
    pub fn start(target: SocketAddr, rules: &Value) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "injector", "static_configs": [{"targets": [target.to_string()]}]}],
        });
        std::fs::write(directory.path().join("prometheus.yaml"), config.to_string())?;
        std::fs::write(directory.path().join("rules.yaml"), rules.to_string())?;
        // Free a moment ago; a server that can't listen fails the test.
        let address = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = Command::new(format!("{CHECKOUT}/target/cluster/bin/prometheus"))
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(std::path::absolute(directory.path())?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("prometheus could not be started: run tests/cluster/prometheus")?;
        let client = Client::try_from(Config::new(format!("http://{address}").parse()?))?;
        Ok(Self { client, _process: process, _directory: directory })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(format!("/api/v1/{path}")).body(Vec::new())?;
        let response: Value = self.client.request(request).await?;
        ensure!(response["status"] == "success", "{path}: {response}");
        Ok(response["data"].clone())
    }

    /// The values of the result of an instant query.
    async fn query(&self, expression: &str) -> anyhow::Result<Vec<f64>> {
        let encode = |byte: u8| match byte {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        let encoded: String = expression.bytes().map(encode).collect();
        let data = self.get(&format!("query?query={encoded}")).await.context(expression.to_owned())?;
        let samples = data["result"].as_array().cloned().unwrap_or_default();
        Ok(samples.iter().filter_map(|sample| sample["value"][1].as_str()?.parse().ok()).collect())
    }

    /// Waits until a query returns values that `hold`.
    pub async fn until(&self, expression: &str, hold: impl Fn(&[f64]) -> bool) -> anyhow::Result<()> {
        until_so(expression, || async {
            let values = self.query(expression).await?;
            ensure!(hold(&values), "it is {values:?}");
            Ok(true)
        })
        .await
    }
}
