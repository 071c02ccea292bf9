//! From one build of the program to another and back, under calls: the programs are real processes with the injector's
//! account, ended by SIGTERM as the kubelet ends them; what the Deployment's controller does, and the kubelet to session
//! pods, is played. `upgrade.rs` does it all on a node.
//!
//! The other build is the same program with other bytes, and another image of the init container.

#[path = "check/installation.rs"]
mod installation;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::{Timestamp, Unit};
use kube::Client;
use kube::api::DeleteParams;
use serde_json::json;
use workflow_contract::names::{INJECTOR, runner_pod};
use workflow_contract::termination::{Details, Termination};
use workflow_contract::{Exit, Source};
use workflow_tests::api_server;
use workflow_tests::driver::Driver;
use workflow_tests::dry_runs::{DryRuns, dry_run, injected_image};
use workflow_tests::endpoints;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::released::{self, Injector, Running};
use workflow_tests::session::{Condition, Session, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until_exists, until_so};

use installation::{applied, register};

const URL: &str = "https://git.invalid/o/r.git";
const COMMIT: &str = "1f0c5e9d6c0a9b8e7d6c5b4a39281706f5e4d3c2";

/// A build: the program, and the configuration that goes with it.
struct Build {
    directory: tempfile::TempDir,
    image: &'static str,
}

impl Build {
    fn new(image: &'static str, addition: &[u8]) -> anyhow::Result<Self> {
        let mut bytes = fs::read(released::program()?)?;
        bytes.extend(addition);
        let build = Self { directory: tempfile::tempdir()?, image };
        fs::write(build.program(), bytes)?;
        fs::set_permissions(build.program(), fs::Permissions::from_mode(0o755))?;
        fs::write(build.directory.path().join("config.yaml"), format!("image: {image}\n"))?;
        Ok(build)
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join(INJECTOR)
    }
}

/// Starts a replica of a build, and waits until it is ready.
async fn start(build: &Build, name: &str) -> anyhow::Result<Running> {
    let config = build.directory.path().join("config.yaml").into();
    let arguments = vec!["--drain".into(), "5s".into(), "--config".into(), config];
    Injector::new(api_server::server()?, &build.program(), arguments)?
        .start(name, endpoints::address()?)
        .await
}

/// What a rolling update does: the new replica takes part before the old one is told to end. The endpoint goes as the
/// old one is told, and the API server hears of that a moment later.
async fn replace(client: &Client, old: Running, build: &Build, name: &str) -> anyhow::Result<Running> {
    let new = start(build, name).await?;
    endpoints::add(client, new.https).await?;
    let ended = tokio::spawn(old.end());
    endpoints::set(client, &[new.https]).await?;
    ended.await??;
    Ok(new)
}

/// Begins a session as the operator does; admission is the replicas'. Gives the image that it is delivered with.
async fn begin(driver: &Driver, name: &str) -> anyhow::Result<Option<String>> {
    let session = driver.create(SessionBuilder::new(name).workflow(URL, "main").build()).await?;
    let start = Timestamp::now().round(Unit::Second)?;
    driver.set_status(name, json!({"phase": "Pending", "startTime": start})).await?;
    let pod = driver.create_bare_pod(&session).await?;
    driver.set_status(name, json!({"phase": "Creating"})).await?;
    says(driver, name, "Fetching").await?;
    injected_image(&pod)
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
    let message = Termination { message: "delivered".to_owned(), details: Some(details) }.render();
    driver.end(name, 0, "Completed", &message).await?;
    says(driver, name, Exit::Reconciled.reason()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_rollback_of_the_program_refuse_nobody_and_lose_no_outcome() -> anyhow::Result<()> {
    let (cluster, _turn) = applied("self-managed").await?;
    let client = cluster.client.clone();
    let (old, new) = (Build::new("fetcher:old", b"")?, Build::new("fetcher:new", b"another build\n")?);
    let first = start(&old, "first").await?;
    endpoints::set(&client, &[first.https]).await?;
    register()?;
    let driver = Driver::new(TestNamespace::named(cluster, "upgrade").await?);
    let called = driver.create(SessionBuilder::new("called").workflow(URL, "main").build()).await?;
    // Until the leader has filled caBundle in.
    let (pods, session) = (driver.pods(), &called);
    let asked = || async { Ok(injected_image(&dry_run(&pods, session).await?)?.is_some()) };
    until_so("the injector to be asked", asked).await?;

    assert_eq!(begin(&driver, "before").await?.as_deref(), Some(old.image));
    let before = deliver(&driver, "before").await?;
    assert_eq!(begin(&driver, "under-way").await?.as_deref(), Some(old.image));
    let calls = DryRuns::begin(driver.pods(), called.clone());
    let second = replace(&client, first, &new, "second").await?;
    calls.end().await?;
    // Judged by the new build, whose own image is another.
    deliver(&driver, "under-way").await?;
    assert_eq!(begin(&driver, "after").await?.as_deref(), Some(new.image));

    let calls = DryRuns::begin(driver.pods(), called.clone());
    let third = replace(&client, second, &old, "third").await?;
    calls.end().await?;
    deliver(&driver, "after").await?;
    assert_eq!(begin(&driver, "again").await?.as_deref(), Some(old.image));
    assert_eq!(says(&driver, "before", &before.reason).await?, before, "what was told stays as it was");

    for session in ["before", "under-way", "after", "again"] {
        driver.pods().delete(&runner_pod(session), &DeleteParams::default().grace_period(0)).await?;
    }
    third.end().await
}
