//! The fake operator and the controller write the same sessions, in each of the operator's modes.

use std::time::Duration;

use crate::env::{StatusEnv, message, session};
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::sync::watch;
use workflow_contract::Exit;
use workflow_contract::names::runner_pod;
use workflow_tests::kubelet::{self, NO_SCHEDULER};
use workflow_tests::manual_operator;
use workflow_tests::operator::{FakeOperator, Mode, Settings};
use workflow_tests::session::{Phase, Session, SessionView};
use workflow_tests::wait::{self, TIMEOUT};

/// Sessions of one test; the last is written 20 times a second throughout.
const SESSIONS: usize = 12;
/// Conditions that the operator writes after creating a pod; a conflict at that moment would lose them all.
const ON_CREATION: [&str; 4] = ["SecretsReady", "S3Available", "ReposReconciled", "PodCreated"];

/// Writes this session's status 20 times a second, as the operator does, until `end`. Returns the number of accepted writes.
async fn busy_operator(
    sessions: Api<Session>,
    name: String,
    mut end: watch::Receiver<bool>,
) -> anyhow::Result<u64> {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut taken = 0;
    while !*end.borrow_and_update() {
        pace.tick().await;
        let mut session = sessions.get(&name).await?;
        beat(&mut session, taken + 1);
        match sessions.replace_status(&name, &PostParams::default(), &session).await {
            Ok(_) => taken += 1,
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

/// Changes a condition of the operator's.
fn beat(session: &mut Session, beat: u64) {
    let fresh = json!({ "type": "Beat", "status": "True", "message": beat.to_string() });
    if let Some(conditions) = session.data["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "Beat");
        conditions.push(fresh);
    }
}

async fn in_phase(env: &StatusEnv, name: &str, phase: Phase) -> anyhow::Result<Session> {
    let what = format!("{name} in phase {phase:?}");
    let holds = |session: &Session| session.phase() == Some(phase);
    wait::until_exists(&env.manual.sessions(), name, &what, TIMEOUT, holds).await
}

async fn writes_beside_the_operator(mode: Mode, namespace: &str) -> anyhow::Result<()> {
    let env = StatusEnv::new(namespace).await?;
    let replica = env.replica(true).await?;
    let settings = Settings {
        scheduler: Some(NO_SCHEDULER.to_owned()),
        admission: Some(manual_operator::inject),
        repost_after: Some(Duration::from_millis(200)),
        conflict_retry: Duration::from_millis(50),
        ..Settings::new("none")
    };
    let _operator = FakeOperator::start(env.client.clone(), namespace, mode, settings);
    let names: Vec<_> = (0..SESSIONS).map(|at| format!("s-{at}")).collect();
    let (end, ended) = watch::channel(false);
    let mut busy = None;
    let mut starts = Vec::new();
    for name in &names {
        env.manual.create(session(name)).await?;
    }
    for name in &names {
        let creating = in_phase(&env, name, Phase::Creating).await?;
        for condition in ON_CREATION {
            assert!(creating.condition(condition).is_some(), "{name} lost {condition} to a conflict");
        }
        starts.push(creating.start_time().unwrap_or_default().to_owned());
        env.reason(name, "Fetching").await?;
    }
    if let Some(last) = names.last() {
        busy = Some(tokio::spawn(busy_operator(env.manual.sessions(), last.clone(), ended)));
    }
    for name in &names {
        env.manual.end(name, 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
        kubelet::report(&env.manual.pods(), &runner_pod(name), &kubelet::running()).await?;
    }
    for (name, start) in names.iter().zip(&starts) {
        in_phase(&env, name, Phase::Running).await?;
        env.reason(name, "Reconciled").await?;
        let session = env.manual.sessions().get(name).await?;
        assert!(!start.is_empty());
        assert_eq!(session.start_time(), Some(start.as_str()), "{name}");
    }
    end.send_replace(true);
    if let Some(busy_operator) = busy {
        let taken = busy_operator.await??;
        let last = env.manual.sessions().get(names.last().map_or("", String::as_str)).await?;
        let beat = last.condition("Beat").map(|beat| beat.message);
        assert_eq!(beat, Some(taken.to_string()), "none of its writes was undone");
    }
    for name in &names {
        let session = env.manual.sessions().get(name).await?;
        assert_eq!(session.workflow_reconciled().unwrap_or_default().status, "True", "{name}");
        for condition in ON_CREATION {
            assert!(session.condition(condition).is_some(), "{name} lost {condition}");
        }
    }
    assert_eq!(
        replica.written_by_now(2 * SESSIONS).await,
        2 * SESSIONS,
        "Fetching and Reconciled, and no ping-pong"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_beside_an_operator_that_posts_early() -> anyhow::Result<()> {
    writes_beside_the_operator(Mode::PostEarly, "post-early").await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_beside_an_operator_that_posts_when_running() -> anyhow::Result<()> {
    writes_beside_the_operator(Mode::PostRunning, "post-running").await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_beside_an_operator_that_delivers_nothing() -> anyhow::Result<()> {
    writes_beside_the_operator(Mode::Plain, "plain").await
}
