//! An installation without a node: the manifests, applied by kubectl to an API server of the process; one replica in this
//! process, with the injector's service account; and fake controllers and kubelet, which write the Deployment's status,
//! pods and the Service's endpoints.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{MutexGuard, watch};
use tokio::task::JoinSet;
use workflow_certs::{CertInfo, Clock, Lifetimes};
use workflow_contract::names::{INJECTOR, TLS_SECRET};
use workflow_injector::admission::Admission;
use workflow_injector::admission::lookup::SessionLookup;
use workflow_injector::cli::check::{self, Options, Scope};
use workflow_injector::cli::serve::ops;
use workflow_injector::replica::{Identity, Issuer, Replica};
use workflow_injector::server::{self, ServerPhase};
use workflow_tests::api_server;
use workflow_tests::cluster::Cluster;
use workflow_tests::endpoints;
use workflow_tests::wait::{TIMEOUT, until_so};

/// The root of the checkout.
pub const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An installation on the process's API server, for one test.
pub struct Installation {
    pub cluster: Cluster,
    pub client: Client,
    ops: u16,
    running: Option<RunningReplica>,
    _turn: MutexGuard<'static, ()>,
}

/// The replica; all of it ends when this is dropped.
struct RunningReplica {
    _phase: watch::Sender<ServerPhase>,
    replica: Replica,
    _servers: JoinSet<()>,
}

impl Installation {
    /// Installs everything and waits until `check` finds nothing wrong.
    pub async fn healthy() -> anyhow::Result<Self> {
        let installation = Self::unregistered(async |_| Ok(())).await?;
        installation.expect_check(Scope::BeforeRegistration, true, &[]).await?;
        register()?;
        installation.expect_check(Scope::Everything, true, &[]).await?;
        Ok(installation)
    }

    /// Installs everything but the registration; `before` changes what is applied before the replica starts.
    pub async fn unregistered(
        before: impl AsyncFnOnce(Client) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        Self::from_directory("manifests/overlays/self-managed", async |cluster| {
            before(cluster.client.clone()).await?;
            Ok(Issuer::SelfManaged(Lifetimes::default()))
        })
        .await
    }

    /// As [`unregistered`](Self::unregistered), from this directory; `before` returns the issuer.
    pub async fn from_directory(
        directory: &str,
        before: impl AsyncFnOnce(&Cluster) -> anyhow::Result<Issuer>,
    ) -> anyhow::Result<Self> {
        let (cluster, turn) = apply_to_empty(directory).await?;
        let client = cluster.client.clone();
        let issuer = before(&cluster).await?;

        let address = endpoints::address()?;
        let (https, http) = (TcpListener::bind((address, 0)).await?, TcpListener::bind((address, 0)).await?);
        let (port, ops_port) = (https.local_addr()?.port(), http.local_addr()?.port());
        let config = api_server::server()?.injectors_config().await?;
        let (phase, phases) = watch::channel(ServerPhase::Serving);
        let identity = Identity { namespace: INJECTOR.to_owned(), name: "replica".to_owned() };
        let (metrics, clock) = (Arc::default(), Clock::default());
        let injector = workflow_injector::kube::client::with(config, &clock)?;
        let replica = Replica::start(
            &injector,
            &clock,
            &identity,
            issuer,
            Arc::default(),
            Arc::clone(&metrics),
            phases.clone(),
        )?;
        let sessions = SessionLookup::new(Arc::new(injector), Some(replica.status.sessions.clone()));
        let admission = Admission::new(sessions, Arc::default(), Arc::clone(&metrics)).router();
        let tls = server::tls_config(replica.resolver.clone())?;
        let mut servers = JoinSet::new();
        servers.spawn(server::serve(https, Some(tls), admission, phases.clone()));
        servers.spawn(server::serve(http, None, ops(&metrics, &replica, &phases).router(), phases));

        write_pods_and_endpoints(&client, address, port, ops_port).await?;
        let running = Some(RunningReplica { _phase: phase, replica, _servers: servers });
        Ok(Self { cluster, client, ops: ops_port, running, _turn: turn })
    }

    /// Waits until `check` succeeds or fails as expected, and prints each of `lines`: the start of a line and a text that
    /// it contains.
    pub async fn expect_check(
        &self,
        scope: Scope,
        success: bool,
        lines: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let options = Options { namespace: "default".to_owned(), scope, wait: Duration::ZERO };
        let limit = Instant::now() + TIMEOUT;
        loop {
            let mut out = Vec::new();
            let code = check::run(self.client.clone(), &options, &mut out).await?;
            let output = String::from_utf8(out)?;
            let has = |(start, text): &(&str, &str)| {
                output.lines().any(|line| line.starts_with(start) && line.contains(text))
            };
            if (code == ExitCode::SUCCESS) == success && lines.iter().all(has) {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "check ended with {code:?}\n{output}\nexpected {lines:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the replica, as the kubelet does when its pod is deleted.
    pub fn end_replica(&mut self) {
        self.running = None;
    }

    /// Address of the replica's probes and metrics.
    pub fn ops_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(endpoints::address()?, self.ops))
    }

    /// The certificate that the replica serves.
    pub fn served(&self) -> Option<CertInfo> {
        self.running.as_ref()?.replica.resolver.info()
    }

    /// The replica's response at `/readyz`: `ok`, or the reason why it is not ready.
    pub async fn readiness(&self) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{INJECTOR}/pods/first:{}/proxy/readyz", self.ops);
        match self.client.request_text(http::Request::get(path).body(Vec::new())?).await {
            Err(kube::Error::Api(status)) if status.code == 503 => Ok(status.message.clone()),
            response => Ok(response?),
        }
    }

    /// Waits until that response contains `text`.
    pub async fn until_readiness_is(&self, text: &str) -> anyhow::Result<()> {
        until_so(&format!("/readyz to return {text}"), || async {
            let readiness = self.readiness().await?;
            ensure!(readiness.contains(text), "it returns {readiness}");
            Ok(true)
        })
        .await
    }

    /// The API of a kind in the injector's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), INJECTOR)
    }

    pub fn registrations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// Sets the waiting reason of one of the replicas' pods.
    pub async fn set_waiting(&self, pod: &str, reason: &str) -> anyhow::Result<()> {
        let status = json!({"status": {"containerStatuses": [container(false, &json!({"waiting": {"reason": reason}}))]}});
        self.api::<Pod>().patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Sets the number of ready replicas in the Deployment's status.
    pub async fn set_ready_replicas(&self, count: i32) -> anyhow::Result<()> {
        set_ready_replicas(&self.client, count).await
    }
}

/// Registers the webhook as `make install` does.
pub fn register() -> anyhow::Result<()> {
    apply("manifests/registration")
}

/// Applies a directory of the checkout to the process's API server, for one test; no replica runs.
pub async fn apply_to_empty(directory: &str) -> anyhow::Result<(Cluster, MutexGuard<'static, ()>)> {
    let (cluster, turn) = api_server::exclusive().await?;
    delete_objects(&cluster.client).await?;
    apply(directory)?;
    Ok((cluster, turn))
}

/// Applies a directory of the checkout as `make install` does.
pub fn apply(directory: &str) -> anyhow::Result<()> {
    kubectl(&["apply", "--server-side", "--force-conflicts", "-k", directory])
}

/// Runs kubectl in the checkout.
pub fn kubectl(args: &[&str]) -> anyhow::Result<()> {
    run("target/cluster/bin/kubectl", args).map(drop)
}

/// The kubeconfig of an admin of the process's API server; the file is deleted when this is dropped.
pub fn admin_kubeconfig() -> anyhow::Result<tempfile::NamedTempFile> {
    let kubeconfig = tempfile::NamedTempFile::new()?;
    std::fs::write(kubeconfig.path(), api_server::server()?.admin_kubeconfig())?;
    Ok(kubeconfig)
}

/// Runs a program of the checkout as an admin of the process's API server and returns its output.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let (checkout, kubeconfig) = (Path::new(CHECKOUT), admin_kubeconfig()?);
    let output = Command::new(checkout.join(program))
        .current_dir(checkout)
        .env("KUBECONFIG", kubeconfig.path())
        .args(args)
        .output()
        .with_context(|| format!("{program} could not be started"))?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Deletes the objects of the last test, whose replica has ended.
async fn delete_objects(client: &Client) -> anyhow::Result<()> {
    delete(Api::<MutatingWebhookConfiguration>::all(client.clone()), INJECTOR).await?;
    delete(Api::<Secret>::namespaced(client.clone(), INJECTOR), TLS_SECRET).await?;
    endpoints::set(client, &[]).await?;
    for pod in ["first", "second"] {
        delete(Api::<Pod>::namespaced(client.clone(), INJECTOR), pod).await?;
    }
    Ok(())
}

async fn delete<K>(api: Api<K>, name: &str) -> anyhow::Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default().grace_period(0)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => Ok(done.map(drop)?),
    }
}

/// Writes the objects of two replicas as controllers and kubelet do; both pods are the replica of this process.
async fn write_pods_and_endpoints(
    client: &Client,
    address: IpAddr,
    https: u16,
    ops: u16,
) -> anyhow::Result<()> {
    endpoints::set(client, &[SocketAddr::new(address, https)]).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), INJECTOR);
    let deployment = serde_json::to_value(deployments.get(INJECTOR).await?)?;
    let template = &deployment["spec"]["template"];
    let pods: Api<Pod> = Api::namespaced(client.clone(), INJECTOR);
    for name in ["first", "second"] {
        let mut spec = template["spec"].clone();
        for port in spec["containers"][0]["ports"].as_array_mut().into_iter().flatten() {
            if port["name"] == "ops" {
                port["containerPort"] = json!(ops);
            }
        }
        let labels = &template["metadata"]["labels"];
        create::<Pod>(client, json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).await?;
        let status = json!({"status": {
            "phase": "RunningReplica", "podIP": address, "podIPs": [{"ip": address}],
            "containerStatuses": [container(true, &json!({"running": {}}))],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    set_ready_replicas(client, 2).await
}

async fn create<K>(client: &Client, object: Value) -> anyhow::Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object)?;
    Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn set_ready_replicas(client: &Client, count: i32) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), INJECTOR);
    let status = json!({"status": {"replicas": 2, "readyReplicas": count, "availableReplicas": count}});
    deployments.patch_status(INJECTOR, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

fn container(ready: bool, state: &Value) -> Value {
    json!({
        "name": INJECTOR, "image": INJECTOR, "imageID": "", "ready": ready, "restartCount": 0, "state": state,
    })
}
