//! From one build of the program to another and back, under calls: the programs are real processes with the injector's
//! account, ended by SIGTERM as the kubelet ends them; what the Deployment's controller does, and the kubelet to session
//! pods, is played. `upgrade.rs` does it all on a node.
//!
//! The other build is the same program with other bytes, and another image of the init container.

#[path = "check/installation.rs"]
mod installation;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::oneshot;
use workflow_contract::names::{INIT_CONTAINER, INJECTOR, STAMP_ANNOTATION, runner_pod};
use workflow_contract::termination::{Details, Termination};
use workflow_contract::{Exit, Source};
use workflow_tests::api_server;
use workflow_tests::driver::Driver;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::session::{Condition, Session, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until_exists};

use installation::{CHECKOUT, address, applied, register, run};

const URL: &str = "https://git.invalid/o/r.git";
const COMMIT: &str = "1f0c5e9d6c0a9b8e7d6c5b4a39281706f5e4d3c2";
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A build: the program, and the configuration that goes with it.
struct Build {
    folder: tempfile::TempDir,
    image: &'static str,
}

impl Build {
    fn new(image: &'static str, addition: &[u8]) -> anyhow::Result<Self> {
        let path = run("tests/cluster/programs", &["--print"])?;
        let path = path.lines().find(|path| path.ends_with("/workflow-injector")).unwrap_or_default();
        let mut bytes = fs::read(Path::new(CHECKOUT).join(path))
            .with_context(|| format!("{path} is missing: run tests/cluster/programs"))?;
        bytes.extend(addition);
        let build = Self { folder: tempfile::tempdir()?, image };
        fs::write(build.program(), bytes)?;
        fs::set_permissions(build.program(), fs::Permissions::from_mode(0o755))?;
        fs::write(build.folder.path().join("config.yaml"), format!("image: {image}\n"))?;
        Ok(build)
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join(INJECTOR)
    }
}

/// A replica, as a process.
struct Replica {
    process: Child,
    https: SocketAddr,
    ops: SocketAddr,
}

impl Replica {
    /// Starts one and waits until it is ready.
    async fn start(build: &Build, name: &str) -> anyhow::Result<Self> {
        let address = address()?;
        let free = || TcpListener::bind((address, 0))?.local_addr();
        let (https, ops) = (free()?, free()?);
        let log = fs::File::create(build.folder.path().join(format!("{name}.log")))?;
        let process = tokio::process::Command::new(build.program())
            .args([
                "serve",
                "--drain",
                "5s",
                "--listen",
                &https.to_string(),
                "--listen-ops",
                &ops.to_string(),
            ])
            .arg("--config")
            .arg(build.folder.path().join("config.yaml"))
            .env("KUBECONFIG", api_server::server()?.injectors_kubeconfig()?)
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let replica = Self { process, https, ops };
        let ready = async {
            while !replica.is_ready().await {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.with_context(|| format!("{name} does not get ready"))?;
        Ok(replica)
    }

    async fn is_ready(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(self.ops).await?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        ask.await.unwrap_or(false)
    }

    /// Ends it as the kubelet does, and waits until it has: in peace.
    async fn end(mut self) -> anyhow::Result<()> {
        let process = self.process.id().context("it has ended by itself")?;
        let killed = Command::new("kill").args(["-TERM", &process.to_string()]).status()?;
        ensure!(killed.success(), "no SIGTERM was sent");
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await??;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    }
}

/// Lets the Service lead to these replicas.
async fn lead_to(client: &Client, replicas: &[&Replica]) -> anyhow::Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), INJECTOR);
    let name = |replica: &Replica| format!("{INJECTOR}-{}", replica.https.port());
    for replica in replicas {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name(replica), "labels": {"kubernetes.io/service-name": INJECTOR}},
            "addressType": if replica.https.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [replica.https.ip()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "protocol": "TCP", "port": replica.https.port()}],
        });
        let apply = PatchParams::apply("workflow-tests").force();
        slices.patch(&name(replica), &apply, &Patch::Apply(slice)).await?;
    }
    for slice in slices.list(&ListParams::default()).await? {
        let slice = slice.metadata.name.unwrap_or_default();
        if !replicas.iter().any(|replica| name(replica) == slice) {
            slices.delete(&slice, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

/// What a rolling update does: the new replica takes part before the old one is told to end. The endpoint goes as the
/// old one is told, and the API server hears of that a moment later.
async fn replace(client: &Client, old: Replica, build: &Build, name: &str) -> anyhow::Result<Replica> {
    let new = Replica::start(build, name).await?;
    lead_to(client, &[&old, &new]).await?;
    let ended = tokio::spawn(old.end());
    lead_to(client, &[&new]).await?;
    ended.await??;
    Ok(new)
}

/// A session pod that is created again and again with `dryRun`, until this is told to stop.
struct Calls {
    stop: oneshot::Sender<()>,
    calls: tokio::task::JoinHandle<anyhow::Result<u32>>,
}

impl Calls {
    fn begin(pods: Api<Pod>, session: &Session) -> anyhow::Result<Self> {
        let pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
        let (stop, mut stopped) = oneshot::channel();
        let calls = tokio::spawn(async move {
            let (mut count, dry_run) = (0, PostParams { dry_run: true, ..PostParams::default() });
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                let mut pod = pod.clone();
                pod.metadata.name = Some(format!("call-{count}"));
                let created = pods.create(&dry_run, &pod).await.with_context(|| format!("call {count}"))?;
                ensure!(injected(&created)?.is_some(), "call {count} came back without the init container");
                count += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(count)
        });
        Ok(Self { stop, calls })
    }

    /// How many there were; an error where one was refused.
    async fn end(self) -> anyhow::Result<u32> {
        drop(self.stop);
        self.calls.await?
    }
}

/// The image in a pod's stamp, which must be that of its init container.
fn injected(pod: &Pod) -> anyhow::Result<Option<String>> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut ours = containers.filter(|container| container.name == INIT_CONTAINER);
    let Some(image) = ours.next().and_then(|container| container.image.clone()) else { return Ok(None) };
    let stamp = pod.metadata.annotations.as_ref().and_then(|all| all.get(STAMP_ANNOTATION));
    let stamp: Value = serde_json::from_str(stamp.context("there is no stamp")?)?;
    ensure!(stamp["image"] == json!(image), "the stamp names another image: {stamp}");
    Ok(Some(image))
}

/// Begins a session as the operator does; admission is the replicas'. Gives the image that it is delivered with.
async fn begin(driver: &Driver, name: &str) -> anyhow::Result<Option<String>> {
    let session = driver.create(SessionBuilder::new(name).workflow(URL, "main").build()).await?;
    let start = Timestamp::now().round(Unit::Second)?;
    driver.set_status(name, json!({"phase": "Pending", "startTime": start})).await?;
    let pod = driver.create_bare_pod(&session).await?;
    driver.set_status(name, json!({"phase": "Creating"})).await?;
    says(driver, name, "Fetching").await?;
    injected(&pod)
}

async fn says(driver: &Driver, name: &str, reason: &str) -> anyhow::Result<Condition> {
    let says = |session: &Session| session.workflow_reconciled().is_some_and(|found| found.reason == reason);
    let session = until_exists(&driver.sessions(), name, reason, PATIENCE, says).await?;
    Ok(session.workflow_reconciled().unwrap_or_default())
}

/// Has the session's init container deliver.
async fn deliver(driver: &Driver, name: &str) -> anyhow::Result<Condition> {
    let source = Source::new(URL, "main", "");
    let details = Details {
        url: Some(source.git_url),
        reference: Some(source.branch),
        commit: Some(COMMIT.to_owned()),
        ..Details::new(Exit::Reconciled)
    };
    let message = Termination { sentence: "delivered".to_owned(), details: Some(details) }.render();
    driver.end(name, 0, "Completed", &message).await?;
    says(driver, name, Exit::Reconciled.reason()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_rollback_of_the_program_refuse_nobody_and_lose_no_outcome() -> anyhow::Result<()> {
    let (cluster, _turn) = applied("self-managed").await?;
    let client = cluster.client.clone();
    let (old, new) = (Build::new("fetcher:old", b"")?, Build::new("fetcher:new", b"another build\n")?);
    let first = Replica::start(&old, "first").await?;
    lead_to(&client, &[&first]).await?;
    register()?;
    let driver = Driver::new(TestNamespace::named(cluster, "upgrade").await?);
    let called = driver.create(SessionBuilder::new("called").workflow(URL, "main").build()).await?;
    asked(&driver, &called).await?;

    assert_eq!(begin(&driver, "before").await?.as_deref(), Some(old.image));
    let before = deliver(&driver, "before").await?;
    assert_eq!(begin(&driver, "under-way").await?.as_deref(), Some(old.image));
    let calls = Calls::begin(driver.pods(), &called)?;
    let second = replace(&client, first, &new, "second").await?;
    ensure!(calls.end().await? > 0, "nobody called");
    // Judged by the new build, whose own image is another.
    deliver(&driver, "under-way").await?;
    assert_eq!(begin(&driver, "after").await?.as_deref(), Some(new.image));

    let calls = Calls::begin(driver.pods(), &called)?;
    let third = replace(&client, second, &old, "third").await?;
    ensure!(calls.end().await? > 0, "nobody called");
    deliver(&driver, "after").await?;
    assert_eq!(begin(&driver, "again").await?.as_deref(), Some(old.image));
    assert_eq!(says(&driver, "before", &before.reason).await?, before, "what was told stays as it was");

    for session in ["before", "under-way", "after", "again"] {
        driver.pods().delete(&runner_pod(session), &DeleteParams::default().grace_period(0)).await?;
    }
    third.end().await
}

/// Waits until the API server asks the injector: until the leader has filled caBundle.
async fn asked(driver: &Driver, session: &Session) -> anyhow::Result<()> {
    let pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
    let (pods, dry_run) = (driver.pods(), PostParams { dry_run: true, ..PostParams::default() });
    let asked = async {
        while !matches!(pods.create(&dry_run, &pod).await.as_ref().map(injected), Ok(Ok(Some(_)))) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.context("the injector is not asked")
}
