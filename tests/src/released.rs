//! The released program as a process, with the account and the permissions of its manifests.

use std::ffi::OsString;
use std::fs;
use std::future::ready;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use workflow_contract::names::INJECTOR;

use crate::api_server::ApiServer;
use crate::memory::Memory;
use crate::wait::{until_found, until_so};

/// Permissions of the injector, as installed.
const RBAC: [&str; 2] = [
    include_str!("../../manifests/base/rbac.yaml"),
    include_str!("../../manifests/overlays/self-managed/rbac.yaml"),
];

/// Path of the released program, which `make build` builds.
pub fn program() -> anyhow::Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = checkout.join("tests/cluster/programs");
    let output = Command::new(&script).arg("--print").output().context("run tests/cluster/programs")?;
    let paths = String::from_utf8(output.stdout)?;
    let path = paths.lines().map(Path::new).find(|path| path.ends_with(INJECTOR));
    let path = checkout.join(path.context("tests/cluster/programs names no injector")?);
    path.canonicalize().with_context(|| format!("{} is missing: run `make build`", path.display()))
}

/// Starts replicas of a program.
pub struct Injector {
    program: PathBuf,
    arguments: Vec<OsString>,
    kubeconfig: PathBuf,
    log: PathBuf,
}

/// A running replica; killed when dropped.
pub struct Running {
    process: Child,
    pub https: SocketAddr,
    /// Probes and metrics.
    pub ops: SocketAddr,
}

impl Injector {
    /// `program` with further arguments; its account must have its permissions already.
    pub fn new(server: &ApiServer, program: &Path, arguments: Vec<OsString>) -> anyhow::Result<Self> {
        let kubeconfig = server.injectors_kubeconfig()?;
        let log = kubeconfig.with_extension("log");
        Ok(Self { program: program.to_owned(), arguments, kubeconfig, log })
    }

    /// Makes it connect to the API server by this port of loopback.
    pub fn through(self, port: u16) -> anyhow::Result<Self> {
        let mut config: Value = serde_json::from_slice(&fs::read(&self.kubeconfig)?)?;
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://127.0.0.1:{port}"));
        let kubeconfig = self.kubeconfig.with_extension(format!("{port}.kubeconfig"));
        fs::write(&kubeconfig, config.to_string())?;
        Ok(Self { kubeconfig, ..self })
    }

    /// Creates the namespace and the permissions.
    pub async fn install(client: &Client, server: &ApiServer, program: &Path) -> anyhow::Result<Self> {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": INJECTOR } }))?;
        create(Api::all(client.clone()), &namespace).await?;
        let documents: Result<Vec<_>, _> =
            RBAC.into_iter().map(serde_saphyr::from_multiple::<Value>).collect();
        for document in documents?.into_iter().flatten() {
            match document["kind"].as_str() {
                Some("ClusterRole") => {
                    create(Api::all(client.clone()), &typed::<ClusterRole>(document)?).await?;
                }
                Some("ClusterRoleBinding") => {
                    create(Api::all(client.clone()), &typed::<ClusterRoleBinding>(document)?).await?;
                }
                Some("Role") => {
                    create(Api::namespaced(client.clone(), INJECTOR), &typed::<Role>(document)?).await?;
                }
                Some("RoleBinding") => {
                    create(Api::namespaced(client.clone(), INJECTOR), &typed::<RoleBinding>(document)?)
                        .await?;
                }
                other => bail!("rbac.yaml has a {other:?}, which is not supported here"),
            }
        }
        Self::new(server, program, Vec::new())
    }

    /// Starts a replica and waits until it is ready: it has read all sessions and pods, and serves a certificate.
    pub async fn start(&self, name: &str, address: IpAddr) -> anyhow::Result<Running> {
        let (https, ops) = {
            // Both are bound until both are known.
            let free = || TcpListener::bind((address, 0));
            let (https, ops) = (free()?, free()?);
            (https.local_addr()?, ops.local_addr()?)
        };
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let process = Command::new(&self.program)
            .arg("serve")
            .args(["--listen", &https.to_string(), "--listen-ops", &ops.to_string()])
            .args(&self.arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} could not be started", self.program.display()))?;
        let running = Running { process, https, ops };
        until_so(&format!("{name} to get ready"), || running.is_ready()).await?;
        Ok(running)
    }
}

impl Running {
    async fn is_ready(&self) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect(self.ops).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response.starts_with("HTTP/1.1 200"))
    }

    pub fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.process.id())
    }

    /// Sends SIGTERM, as the kubelet does, and waits for a successful end.
    pub async fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).context("send SIGTERM to a replica")?;
        let ended = || ready(self.process.try_wait().map_err(anyhow::Error::from));
        let status = until_found("a replica to end", ended).await?;
        ensure!(status.success(), "a replica ended with {status}");
        Ok(())
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn typed<K: DeserializeOwned>(document: Value) -> anyhow::Result<K> {
    Ok(K::deserialize(document)?)
}

async fn create<K>(api: Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).context("create the injector's permissions"),
    }
}
