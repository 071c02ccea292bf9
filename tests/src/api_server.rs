//! An API server of the test process: etcd and kube-apiserver on loopback, without nodes and controllers, so that only
//! tests change objects.
//!
//! It is started once for each test process, takes about two seconds, and ends with the process, also when that is killed.
//! Tests that use all of it (a controller watches all namespaces) lock it with [`exclusive`].

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use workflow_contract::names::INJECTOR;

use crate::cluster::{Cluster, checkout};

/// Timeout until it is ready, on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(2);
/// The administrator's token; the server listens on loopback only.
const ADMIN: &str = "admin";
/// The token of the injector's service account.
const INJECTOR_TOKEN: &str = "injector";

/// File with the CA of the client certificate for webhooks.
const WEBHOOK_CLIENT_CA: &str = "webhook-client-ca.crt";

static SERVER: OnceLock<Result<ApiServer, String>> = OnceLock::new();
static LOCK: Mutex<()> = Mutex::const_new(());

/// The process's API server.
pub struct ApiServer {
    secure: u16,
    state: PathBuf,
    /// Requests to restart the server, each with a channel for the result.
    restarts: std::sync::Mutex<Sender<Sender<anyhow::Result<()>>>>,
}

/// Locks the process's API server until the guard is dropped.
pub async fn exclusive() -> anyhow::Result<(Cluster, MutexGuard<'static, ()>)> {
    let guard = LOCK.lock().await;
    let server = server()?;
    let config = server.config().await?;
    ready(Client::try_from(config.clone())?).await?;
    Ok((Cluster::at(config, true).await?, guard))
}

/// Returns the process's API server; the first call starts it.
pub fn server() -> anyhow::Result<&'static ApiServer> {
    let server = tokio::task::block_in_place(|| SERVER.get_or_init(|| start().map_err(|e| format!("{e:#}"))));
    server.as_ref().map_err(|error| anyhow::anyhow!("no API server: {error}"))
}

impl ApiServer {
    /// The administrator's configuration.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(ADMIN))?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// The administrator's kubeconfig, for programs that a test starts.
    pub fn admin_kubeconfig(&self) -> String {
        self.kubeconfig(ADMIN)
    }

    /// Writes the administrator's kubeconfig and returns its path.
    pub fn admin_kubeconfig_file(&self) -> anyhow::Result<PathBuf> {
        let path = self.state.join("admin.kubeconfig");
        fs::write(&path, self.kubeconfig(ADMIN))?;
        Ok(path)
    }

    /// Writes the kubeconfig of the injector's service account and returns its path.
    pub fn injectors_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        let path = self.state.join("injector.kubeconfig");
        fs::write(&path, self.kubeconfig(INJECTOR_TOKEN))?;
        Ok(path)
    }

    /// The configuration of the injector's service account.
    pub async fn injectors_config(&self) -> anyhow::Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(INJECTOR_TOKEN))?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// The file with the requests of the injector's service account, one JSON object a line.
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("audit.log")
    }

    /// The file with the CA of the client certificate that the server presents to webhooks.
    pub fn webhook_client_ca(&self) -> PathBuf {
        self.state.join(WEBHOOK_CLIENT_CA)
    }

    /// The directory of the server's files.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Kills the API server and starts another in its place, over the same etcd.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let (done, outcome) = mpsc::channel();
        self.restarts.lock().map_err(|_| anyhow::anyhow!("a restart failed before"))?.send(done)?;
        tokio::task::block_in_place(|| outcome.recv()).context("the API server's thread ended")??;
        ready(Client::try_from(self.config().await?)?).await
    }

    fn kubeconfig(&self, token: &str) -> String {
        let server = format!("https://127.0.0.1:{}", self.secure);
        json!({
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        })
        .to_string()
    }
}

fn start() -> anyhow::Result<ApiServer> {
    let (started, outcome) = mpsc::channel();
    let (restarts, requests) = mpsc::channel();
    // The kernel ends the programs together with this thread, so it lasts as long as the process.
    thread::Builder::new().name("api-server".to_owned()).spawn(move || run(&started, &requests))?;
    let (secure, state) = outcome.recv().context("the API server's thread ended")??;
    Ok(ApiServer { secure, state, restarts: std::sync::Mutex::new(restarts) })
}

/// The port and the directory of a started server.
type Started = (u16, PathBuf);

fn run(started: &Sender<anyhow::Result<Started>>, requests: &Receiver<Sender<anyhow::Result<()>>>) {
    let (mut server, flags, state) = match launch() {
        Ok((server, flags, secure, state)) => {
            // A receiver that is gone belongs to a process that ends.
            let _ = started.send(Ok((secure, state.clone())));
            (server, flags, state)
        }
        Err(error) => return drop(started.send(Err(error))),
    };
    for done in requests {
        let ended = server.kill().and_then(|()| server.wait());
        let again = ended.map_err(anyhow::Error::from).and_then(|_| spawn("kube-apiserver", &flags, &state));
        let _ = done.send(again.map(|next| server = next));
    }
    loop {
        thread::park();
    }
}

/// A program's flags, with their values.
type Flags = Vec<(&'static str, String)>;

fn launch() -> anyhow::Result<(Child, Flags, u16, PathBuf)> {
    let state = state()?;
    let path = |name: &str| state.join(name).display().to_string();
    let key = rcgen::KeyPair::generate()?;
    fs::write(state.join("service-account.key"), key.serialize_pem())?;
    fs::write(state.join("service-account.pub"), key.public_key_pem())?;
    let injector = format!("system:serviceaccount:{INJECTOR}:{INJECTOR}");
    let tokens =
        format!("{ADMIN},admin,1,system:masters\n{INJECTOR_TOKEN},{injector},2,system:serviceaccounts\n");
    fs::write(state.join("tokens.csv"), tokens)?;
    let audited = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{ "level": "Metadata", "users": [injector] }, { "level": "None" }],
    });
    fs::write(state.join("audit.json"), audited.to_string())?;
    write_webhook_credentials(&state)?;

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
        // A benchmark writes each of 10,000 pods several times over.
        ("--quota-backend-bytes", (6_u64 << 30).to_string()),
    ];
    let server = vec![
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
        // There is no kube-proxy: webhooks behind a Service are reached at its endpoints.
        ("--enable-aggregator-routing", "true".to_owned()),
        ("--disable-admission-plugins", "ServiceAccount".to_owned()),
        ("--audit-policy-file", path("audit.json")),
        ("--audit-log-path", path("audit.log")),
        ("--admission-control-config-file", path("admission.json")),
    ];
    spawn("etcd", &etcd, &state)?;
    let child = spawn("kube-apiserver", &server, &state)?;
    Ok((child, server, secure, state))
}

/// Writes the client certificate that the server presents to webhooks, and the configuration for it, as in
/// docs/operate.md.
fn write_webhook_credentials(state: &Path) -> anyhow::Result<()> {
    let mut ca = rcgen::CertificateParams::new(Vec::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate()?)?;
    let mut client = rcgen::CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(rcgen::DnType::CommonName, "kube-apiserver");
    client.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let key = rcgen::KeyPair::generate()?;
    let client = client.signed_by(&key, &ca)?;
    fs::write(state.join(WEBHOOK_CLIENT_CA), ca.pem())?;
    fs::write(state.join("webhook-client.crt"), client.pem())?;
    fs::write(state.join("webhook-client.key"), key.serialize_pem())?;
    let path = |name: &str| state.join(name).display().to_string();
    // For webhooks by URL the user's name is host and port; `*` is any.
    let user = json!({
        "client-certificate": path("webhook-client.crt"), "client-key": path("webhook-client.key"),
    });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "users": [{ "name": "*", "user": user }],
    });
    fs::write(state.join("webhooks.kubeconfig"), kubeconfig.to_string())?;
    let plugin = json!({
        "name": "MutatingAdmissionWebhook",
        "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": path("webhooks.kubeconfig"),
        },
    });
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [plugin],
    });
    Ok(fs::write(state.join("admission.json"), configuration.to_string())?)
}

/// Starts a program that the kernel ends together with this thread.
pub(crate) fn spawn(program: &str, flags: &[(&str, String)], state: &Path) -> anyhow::Result<Child> {
    let binary = checkout().join("target/cluster/bin").join(program);
    ensure!(binary.exists(), "{} is missing: run tests/cluster/build-tools", binary.display());
    let log = state.join(format!("{program}.log"));
    let log = fs::File::options().create(true).append(true).open(log)?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&binary)
        .args(flags.iter().map(|(flag, value)| format!("{flag}={value}")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{program} could not be started"))
}

/// Creates a directory for this process's server and removes those of processes that have ended.
fn state() -> anyhow::Result<PathBuf> {
    let all = checkout().join("target/api-servers");
    fs::create_dir_all(&all)?;
    for directory in fs::read_dir(&all)?.flatten() {
        if !Path::new("/proc").join(directory.file_name()).exists() {
            // Another process may have been faster.
            let _ = fs::remove_dir_all(directory.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    fs::create_dir_all(&own)?;
    Ok(own)
}

/// Returns unused ports.
fn ports() -> anyhow::Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Waits until the server is ready.
async fn ready(client: Client) -> anyhow::Result<()> {
    let limit = Instant::now() + TIMEOUT;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > limit => {
                return Err(error).context("the API server does not become ready");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
