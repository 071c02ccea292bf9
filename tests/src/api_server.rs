//! An API server of a test's own: etcd and kube-apiserver on loopback, and nothing else. No node, no controllers: what
//! happens to an object is what the test does to it.
//!
//! It is started once for each test process, takes about two seconds, and ends with the process, however that ends.
//! Tests that look at all of it (a controller watches all namespaces) take it for themselves with [`exclusive`].

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::cluster::{Cluster, checkout};

/// How long it may take until it is ready, on a machine with other work to do.
const PATIENCE: Duration = Duration::from_mins(2);
/// The one user's token; the server listens on loopback only.
const TOKEN: &str = "admin";

static SERVER: OnceLock<Result<String, String>> = OnceLock::new();
static TURN: Mutex<()> = Mutex::const_new(());

/// The process's API server, for one test at a time: as long as the guard lives.
pub async fn exclusive() -> anyhow::Result<(Cluster, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().await;
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig()?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    ready(Client::try_from(config.clone())?).await?;
    Ok((Cluster::at(config, true).await?, turn))
}

/// The kubeconfig that leads to the process's API server, for programs that a test starts.
pub fn kubeconfig() -> anyhow::Result<&'static str> {
    let started =
        tokio::task::block_in_place(|| SERVER.get_or_init(|| start().map_err(|e| format!("{e:#}"))));
    started.as_deref().map_err(|error| anyhow::anyhow!("no API server: {error}"))
}

/// Starts the server and gives the kubeconfig that leads to it.
fn start() -> anyhow::Result<String> {
    let (started, outcome) = mpsc::channel();
    // The programs are ended when this thread ends, so it lasts as long as the process.
    thread::Builder::new().name("api-server".to_owned()).spawn(move || run(&started))?;
    outcome.recv().context("the API server's thread ended")?
}

fn run(started: &Sender<anyhow::Result<String>>) {
    // A receiver that is gone belongs to a process that ends.
    let _ = started.send(launch());
    loop {
        thread::park();
    }
}

fn launch() -> anyhow::Result<String> {
    let state = state()?;
    let path = |name: &str| state.join(name).display().to_string();
    let key = rcgen::KeyPair::generate()?;
    fs::write(state.join("service-account.key"), key.serialize_pem())?;
    fs::write(state.join("service-account.pub"), key.public_key_pem())?;
    fs::write(state.join("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n"))?;

    let [client, peer, secure] = ports()?;
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let etcd = [
        ("--data-dir", path("etcd")),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client.clone()),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer.clone()),
        ("--initial-cluster", format!("default={peer}")),
        ("--unsafe-no-fsync", "true".to_owned()),
    ];
    let server = [
        ("--etcd-servers", client),
        ("--bind-address", "127.0.0.1".to_owned()),
        ("--secure-port", secure.to_string()),
        ("--cert-dir", path("pki")),
        ("--token-auth-file", path("tokens.csv")),
        ("--authorization-mode", "RBAC".to_owned()),
        ("--service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("--service-account-key-file", path("service-account.pub")),
        ("--service-account-signing-key-file", path("service-account.key")),
        ("--service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("--endpoint-reconciler-type", "none".to_owned()),
        ("--disable-admission-plugins", "ServiceAccount".to_owned()),
    ];
    spawn("etcd", &etcd, &state)?;
    spawn("kube-apiserver", &server, &state)?;
    let cluster =
        json!({ "server": format!("https://127.0.0.1:{secure}"), "insecure-skip-tls-verify": true });
    let kubeconfig = json!({
        "current-context": "test",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    Ok(kubeconfig.to_string())
}

/// Starts a program that the kernel ends together with this thread.
fn spawn(program: &str, flags: &[(&str, String)], state: &Path) -> anyhow::Result<()> {
    let binary = checkout().join("target/cluster/bin").join(program);
    ensure!(binary.exists(), "{} is missing: run tests/cluster/build-tools", binary.display());
    let log = fs::File::create(state.join(format!("{program}.log")))?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&binary)
        .args(flags.iter().map(|(flag, value)| format!("{flag}={value}")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{program} could not be started"))?;
    Ok(())
}

/// A folder for this process's server; those of processes that are gone are removed.
fn state() -> anyhow::Result<PathBuf> {
    let all = checkout().join("target/api-servers");
    fs::create_dir_all(&all)?;
    for folder in fs::read_dir(&all)?.flatten() {
        if !Path::new("/proc").join(folder.file_name()).exists() {
            // Another process may have been faster.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    fs::create_dir_all(&own)?;
    Ok(own)
}

/// Ports that are free at present.
fn ports() -> anyhow::Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Waits until the server takes all requests.
async fn ready(client: Client) -> anyhow::Result<()> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > limit => {
                return Err(error).context("the API server does not get ready");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
