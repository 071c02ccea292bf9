//! The injector as a process of its own, with the account and the rights that its manifests give it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workflow_contract::names::INJECTOR;

use crate::api_server::ApiServer;
use crate::memory::Memory;

/// What the injector may do, as it is installed.
const RIGHTS: [&str; 2] = [
    include_str!("../../../manifests/base/rbac.yaml"),
    include_str!("../../../manifests/overlays/self-managed/rbac.yaml"),
];
/// How long it may take to get ready.
const PATIENCE: Duration = Duration::from_mins(2);

/// A way to start it, again and again.
pub struct Injector {
    program: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
}

/// One that runs; killed when dropped.
pub struct Running {
    process: Child,
    /// Port of `/mutate`.
    pub https: u16,
    ops: u16,
}

impl Injector {
    /// Grants the rights, and makes the namespace that they are in.
    pub async fn install(client: &Client, server: &ApiServer, program: &Path) -> anyhow::Result<Self> {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": INJECTOR } }))?;
        create(Api::all(client.clone()), &namespace).await?;
        let documents: Result<Vec<_>, _> =
            RIGHTS.into_iter().map(serde_saphyr::from_multiple::<Value>).collect();
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
                other => bail!("rbac.yaml has a {other:?}, which is not known here"),
            }
        }
        let kubeconfig = server.injectors_kubeconfig()?;
        Ok(Self { program: program.to_owned(), log: kubeconfig.with_extension("log"), kubeconfig })
    }

    /// Starts it under the name of always the same pod.
    pub fn start(&self) -> anyhow::Result<Running> {
        self.start_as("bench-status-0", Ipv4Addr::LOCALHOST)
    }

    /// Starts a replica of this name, which listens for reviews at this address.
    pub fn start_as(&self, pod: &str, address: Ipv4Addr) -> anyhow::Result<Running> {
        let free = |address| TcpListener::bind((address, 0))?.local_addr().map(|address| address.port());
        let (https, ops) = (free(address)?, free(Ipv4Addr::LOCALHOST)?);
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let process = Command::new(&self.program)
            .arg("serve")
            .args(["--listen", &format!("{address}:{https}"), "--listen-ops", &format!("127.0.0.1:{ops}")])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("POD_NAME", pod)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} could not be started", self.program.display()))?;
        Ok(Running { process, https, ops })
    }
}

impl Running {
    /// Waits until it is ready: until it has read all sessions and pods.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let limit = Instant::now() + PATIENCE;
        while !self.answers_ready().unwrap_or(false) {
            anyhow::ensure!(Instant::now() < limit, "workflow-injector does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn answers_ready(&self) -> io::Result<bool> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.ops))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    }

    /// Memory in use.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.process.id())
    }

    /// Tells it to end, as the kubelet does.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let process = Pid::from_child(&self.process);
        kill_process(process, Signal::TERM).context("send SIGTERM to workflow-injector")
    }

    /// Waits until it has ended; tells whether it ended well.
    pub async fn ended(&mut self) -> anyhow::Result<bool> {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.success());
            }
            anyhow::ensure!(Instant::now() < limit, "workflow-injector does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
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
        made => made.map(drop).context("install the injector's rights"),
    }
}
