//! Kubernetes' namespace and garbage collection controllers for the process's own API server, which has no node.

use std::fs;
use std::sync::OnceLock;

use crate::api_server::{self, ApiServer};
use crate::background::Background;

/// Deletion only: tests act as the other controllers.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller";

static STARTED: OnceLock<Result<Background, String>> = OnceLock::new();

/// Starts the controllers for the process's API server, once; they end with the process.
pub fn start() -> anyhow::Result<()> {
    let server = api_server::server()?;
    let started =
        tokio::task::block_in_place(|| STARTED.get_or_init(|| run(server).map_err(|e| format!("{e:#}"))));
    started.as_ref().map(drop).map_err(|error| anyhow::anyhow!("no controllers: {error}"))
}

fn run(server: &ApiServer) -> anyhow::Result<Background> {
    let kubeconfig = server.state().join("controllers.kubeconfig");
    fs::write(&kubeconfig, server.admin_kubeconfig())?;
    let flags = vec![
        ("--kubeconfig", kubeconfig.display().to_string()),
        ("--controllers", CONTROLLERS.to_owned()),
        ("--leader-elect", "false".to_owned()),
        ("--secure-port", "0".to_owned()),
        ("--kube-api-qps", "500".to_owned()),
        ("--kube-api-burst", "1000".to_owned()),
    ];
    Background::start("kube-controller-manager", flags, server.state())
}
