//! Deliveries into running sessions on a real node: with the component `live-delivery` installed, beside a runner that
//! replaces the directory itself. No other test program may use the injector at the same time.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use workflow_contract::names::{INIT_CONTAINER, live_container};
use workflow_tests::cluster::Cluster;
use workflow_tests::env::TestEnv;
use workflow_tests::live_delivery::with_live_delivery;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, Session, SessionBuilder, SessionView};

/// Sessions whose workflow changes at the same time.
const SESSIONS: usize = 30;

/// Limit on the time from the change of a workflow to its condition in a session of its own.
const LIMIT: Duration = Duration::from_secs(30);

/// A user as OpenShift assigns it to the pods of a namespace.
const USER: i64 = 1_000_650_000;

async fn start(env: &TestEnv, session: SessionBuilder, name: &str) -> anyhow::Result<()> {
    env.create(session).await?;
    env.session_until(name, "phase Running", |session| session.phase() == Some(Phase::Running)).await?;
    Ok(())
}

async fn choose(env: &TestEnv, name: &str, workflow: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"activeWorkflow": workflow}}));
    env.sessions().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Reports whether the condition is about the session's present generation and has this reason.
fn is(session: &Session, status: &str, reason: &str) -> bool {
    session.workflow_reconciled().is_some_and(|condition| {
        (condition.status.as_str(), condition.reason.as_str()) == (status, reason)
            && condition.observed_generation == session.metadata.generation
    })
}

/// Waits for the delivery of this commit, and compares what the runner reads now.
#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
async fn delivered(env: &TestEnv, name: &str, commit: &str, readme: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let what = format!("{commit} to be delivered");
    let session = env.session_until(name, &what, |session| is(session, "True", "Reconciled")).await?;
    let message = session.workflow_reconciled().context("it has a condition")?.message;
    ensure!(message.contains(commit) && message.ends_with("in the running session"), "{message}");
    let took = started.elapsed();
    ensure!(took < LIMIT, "{took:?}");
    println!("{name}: delivered in {:.1} s", took.as_secs_f64());
    let file = env.runner(name).file("flow/README.md").await?;
    ensure!(file == readme.as_bytes(), "{}", String::from_utf8_lossy(&file));
    Ok(())
}

/// Changes that the runner's own clone can and can't make, a failure, and the change back.
async fn changes(env: &TestEnv, name: &str, is_injected: bool) -> anyhow::Result<()> {
    let repository = env.git.repository(&format!("{name}/flow")).file("README.md", "main\n").branch("dev");
    let repository = repository.file("README.md", "dev\n").create()?;
    let (main, dev) = (repository.commit("main")?, repository.commit("dev")?);
    let url = repository.url();
    let session = SessionBuilder::new(name);
    if is_injected {
        start(env, session.workflow(url, "dev"), name).await?;
    } else {
        start(env, session, name).await?;
    }
    choose(env, name, json!({"gitUrl": url, "branch": "main"})).await?;
    delivered(env, name, &main, "main\n").await?;
    // `git clone --branch` takes no commit id, so that the runner keeps the old directory and reports success.
    choose(env, name, json!({"gitUrl": url, "branch": dev})).await?;
    delivered(env, name, &dev, "dev\n").await?;

    choose(env, name, json!({"gitUrl": url, "branch": "mian"})).await?;
    let failed =
        env.session_until(name, "the failure", |session| is(session, "False", "RefNotFound")).await?;
    let message = failed.workflow_reconciled().context("it has a condition")?.message;
    ensure!(message.contains("did you mean `main`?"), "{message}");
    ensure!(message.contains(&format!("the session goes on with {url} ({dev})")), "{message}");
    ensure!(env.runner(name).file("flow/README.md").await? == b"dev\n", "the old directory stays");

    choose(env, name, json!({"gitUrl": url, "branch": "main"})).await?;
    delivered(env, name, &main, "main\n").await?;

    let spec = env.pod(name).await?.spec.context("a pod has a spec")?;
    ensure!(spec.init_containers.iter().flatten().any(|init| init.name == INIT_CONTAINER) == is_injected);
    let mut added: Vec<_> =
        spec.ephemeral_containers.iter().flatten().map(|added| added.name.clone()).collect();
    added.sort();
    ensure!(added == (2..=5).map(live_container).collect::<Vec<_>>(), "one for each change: {added:?}");
    Ok(())
}

async fn changes_in_each_kind_of_pod(env: &TestEnv) -> anyhow::Result<()> {
    tokio::try_join!(changes(env, "injected", true), changes(env, "bare", false)).map(drop)
}

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
async fn many_at_once(env: &TestEnv) -> anyhow::Result<()> {
    let repository = env.git.repository("many/flow").file("README.md", "many\n").create()?;
    let commit = repository.commit("main")?;
    let names: Vec<_> = (0..SESSIONS).map(|number| format!("many-{number}")).collect();
    for name in &names {
        env.create(SessionBuilder::new(name)).await?;
    }
    for name in &names {
        env.session_until(name, "phase Running", |session| session.phase() == Some(Phase::Running)).await?;
    }
    let started = Instant::now();
    for name in &names {
        choose(env, name, json!({"gitUrl": repository.url(), "branch": "main"})).await?;
    }
    for name in &names {
        let session =
            env.session_until(name, "a delivery", |session| is(session, "True", "Reconciled")).await?;
        let message = session.workflow_reconciled().context("it has a condition")?.message;
        ensure!(message.contains(&commit), "{message}");
    }
    println!("{SESSIONS} sessions: delivered in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::test]
async fn delivers_what_is_chosen_and_changed_in_running_sessions() -> anyhow::Result<()> {
    let client = Cluster::connect().await?.client;
    with_live_delivery(&client, async || {
        tokio::join!(
            with_namespace(|namespace| async move {
                changes_in_each_kind_of_pod(&TestEnv::new(namespace, Mode::PostRunning).await?).await
            }),
            with_namespace(|namespace| async move {
                let env = TestEnv::with_user(namespace, Mode::PostEarly, USER).await?;
                changes_in_each_kind_of_pod(&env).await
            }),
        );
        with_namespace(|namespace| async move {
            many_at_once(&TestEnv::new(namespace, Mode::PostRunning).await?).await
        })
        .await;
        Ok(())
    })
    .await
}
