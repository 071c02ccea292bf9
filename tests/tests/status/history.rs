//! Sessions that began before the installation are not written.

use std::collections::BTreeMap;

use crate::env::{StatusEnv, URL};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use workflow_tests::manual_operator;
use workflow_tests::session::{Session, SessionBuilder, SessionView};

/// States of sessions at installation.
const KINDS: [&str; 5] = ["running", "posted", "completed", "failed", "bare"];

fn old_session(name: &str, kind: &str) -> Session {
    match kind {
        "bare" => SessionBuilder::new(name).build(),
        _ => SessionBuilder::new(name).workflow(URL, "main").build(),
    }
}

/// A session as the operator left it, with its pod if it still exists.
async fn make_old(env: &StatusEnv, name: &str, kind: &str) -> anyhow::Result<()> {
    let manual = &env.manual;
    let session = manual.create(old_session(name, kind)).await?;
    let phase = match kind {
        "completed" => "Completed",
        "failed" => "Failed",
        _ => "Running",
    };
    let mut conditions = vec![json!({"type": "Ready", "status": "False", "reason": "X", "message": "m"})];
    if kind == "posted" {
        conditions.push(json!({"type": "WorkflowReconciled", "status": "False", "reason": "UpdateFailed"}));
    }
    // Whole seconds, as the operator writes them.
    let start = Timestamp::from_second(Timestamp::now().as_second())?;
    manual.set_status(name, json!({"phase": phase, "startTime": start, "conditions": conditions})).await?;
    if phase == "Running" {
        manual.create_bare_pod(&session).await?;
    }
    Ok(())
}

async fn versions(env: &StatusEnv) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let all = env.manual.sessions().list(&ListParams::default()).await?;
    let old = all.items.into_iter().filter(|session| session.name_any().starts_with("old-"));
    Ok(old.map(|session| (session.name_any(), session.resource_version())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_write_sessions_older_than_the_registration() -> anyhow::Result<()> {
    let env = StatusEnv::new("history").await?;
    manual_operator::unregister(env.client.clone()).await?;
    let replica = env.replica(true).await?;
    for (at, kind) in (0..200).map(|at| (at, KINDS[at % KINDS.len()])) {
        make_old(&env, &format!("old-{kind}-{at}"), kind).await?;
    }
    let before = versions(&env).await?;
    assert_eq!(before.len(), 200);
    // At once, so that the last of them are as old as the registration is to the second.
    manual_operator::register(env.client.clone()).await?;
    env.sync_marker("marker").await?;
    // The same for a replica that starts later.
    let second = env.replica(true).await?;
    env.sync_marker("second-marker").await?;
    assert_eq!(versions(&env).await?, before);

    // Later changes of these sessions are not written either.
    env.manual.delete_pod("old-running-0").await?;
    let change = Patch::Merge(json!({"spec": {"activeWorkflow": {"branch": "dev"}}}));
    env.manual.sessions().patch("old-running-5", &PatchParams::default(), &change).await?;
    env.manual.set_status("old-posted-1", json!({"phase": "Completed"})).await?;
    env.sync_marker("third-marker").await?;
    for name in ["old-running-0", "old-running-5"] {
        assert_eq!(env.manual.sessions().get(name).await?.workflow_reconciled(), None, "{name}");
    }
    let posted = env.manual.sessions().get("old-posted-1").await?.workflow_reconciled().unwrap_or_default();
    assert_eq!(posted.reason, "UpdateFailed");
    assert!(replica.written() + second.written() >= 3, "the markers");

    // Its next run is not.
    let session = env.manual.sessions().get("old-failed-3").await?;
    let start = Timestamp::from_second(Timestamp::now().as_second() + 1)?;
    env.manual.set_status("old-failed-3", json!({"phase": "Pending", "startTime": start})).await?;
    env.manual.create_pod(&session).await?;
    env.manual.set_status("old-failed-3", json!({"phase": "Creating"})).await?;
    env.reason("old-failed-3", "Fetching").await?;
    Ok(())
}
