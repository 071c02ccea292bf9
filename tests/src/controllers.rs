//! Kubernetes' namespace and garbage collection controllers for the process's own API server, which has no node.

use std::fs;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use anyhow::Context;

use crate::api_server::{self, ApiServer};

/// Deletion only: tests act as the other controllers.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller";

static STARTED: OnceLock<Result<(), String>> = OnceLock::new();

/// Starts the controllers for the process's API server, once; they end with the process.
pub fn start() -> anyhow::Result<()> {
    let server = api_server::server()?;
    let started =
        tokio::task::block_in_place(|| STARTED.get_or_init(|| run(server).map_err(|e| format!("{e:#}"))));
    started.clone().map_err(|error| anyhow::anyhow!("no controllers: {error}"))
}

fn run(server: &'static ApiServer) -> anyhow::Result<()> {
    let kubeconfig = server.state().join("controllers.kubeconfig");
    fs::write(&kubeconfig, server.admin_kubeconfig())?;
    let flags = [
        ("--kubeconfig", kubeconfig.display().to_string()),
        ("--controllers", CONTROLLERS.to_owned()),
        ("--leader-elect", "false".to_owned()),
        ("--secure-port", "0".to_owned()),
        ("--kube-api-qps", "500".to_owned()),
        ("--kube-api-burst", "1000".to_owned()),
    ];
    let (started, outcome) = mpsc::channel();
    // The program is ended when this thread ends, so it lasts as long as the process.
    thread::Builder::new().name("controllers".to_owned()).spawn(move || {
        let spawned = api_server::spawn("kube-controller-manager", &flags, server.state());
        // A receiver that is gone belongs to a process that ends.
        let _ = started.send(spawned.map(drop));
        loop {
            thread::park();
        }
    })?;
    outcome.recv().context("the controllers' thread ended")?
}
