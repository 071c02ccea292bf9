//! Concurrent writers of one status: the operator and replicas of the controller.

use crate::env::{StatusEnv, message, session};
use futures::{TryStreamExt, stream};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use workflow_contract::Exit;
use workflow_tests::session::{Session, SessionView};

/// Reads, changes and PUTs the status as the operator does, until `end`; every third write changes the
/// controller's condition. Returns the number of accepted writes.
async fn operator(sessions: Api<Session>, mut end: watch::Receiver<bool>) -> anyhow::Result<u64> {
    let mut taken = 0;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    while !*end.borrow_and_update() {
        pace.tick().await;
        let mut session = sessions.get("s").await?;
        let conditions = session.data["status"]["conditions"].as_array_mut();
        let mut conditions = conditions.map(std::mem::take).unwrap_or_default();
        upsert(
            &mut conditions,
            json!({"type": "Beat", "status": "True", "message": (taken + 1).to_string()}),
        );
        upsert(&mut conditions, json!({"type": format!("Kind{}", taken % 7), "status": "True"}));
        if taken % 3 == 2 {
            let failed = json!({"type": "WorkflowReconciled", "status": "False", "reason": "UpdateFailed"});
            upsert(&mut conditions, failed);
        }
        session.data["status"]["conditions"] = Value::Array(conditions);
        match sessions.replace_status("s", &PostParams::default(), &session).await {
            Ok(_) => taken += 1,
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

fn upsert(conditions: &mut Vec<Value>, fresh: Value) {
    match conditions.iter_mut().find(|old| old["type"] == fresh["type"]) {
        Some(old) => *old = fresh,
        None => conditions.push(fresh),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_every_write_of_a_busy_operator() -> anyhow::Result<()> {
    let env = StatusEnv::new("busy-operator").await?;
    let replica = env.replica(true).await?;
    let begun = env.manual.begin(session("s")).await?;
    let (end, ended) = watch::channel(false);
    let busy_operator = tokio::spawn(operator(env.manual.sessions(), ended));
    // Whole runs of pods, one after the other, until the operator has written often enough.
    let mut pods = 0;
    loop {
        pods += 1;
        env.reason("s", "Fetching").await?;
        env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
        env.reason("s", "Reconciled").await?;
        let beat = env.manual.sessions().get("s").await?.condition("Beat").unwrap_or_default();
        if beat.message.parse::<u64>().is_ok_and(|beat| beat > 100) {
            break;
        }
        env.manual.delete_pod("s").await?;
        env.manual.create_pod(&begun).await?;
    }
    end.send_replace(true);
    let taken = busy_operator.await??;
    env.reason("s", "Reconciled").await?;
    let session = env.manual.sessions().get("s").await?;
    let beat = session.condition("Beat").map(|beat| beat.message);
    assert_eq!(beat, Some(taken.to_string()), "no write of the operator's was undone");
    let kinds: Vec<_> = session.conditions().into_iter().filter(|c| c.r#type.starts_with("Kind")).collect();
    assert_eq!(kinds.len(), 7);
    assert_eq!(session.start_time(), begun.start_time());
    // Each change of the operator's may be corrected once, in addition to the writes for the pods.
    let limit = usize::try_from(taken / 3)? + 2 * pods;
    assert!(replica.written() <= limit, "{} writes, {limit} allowed", replica.written());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn corrects_another_writer_once_per_write() -> anyhow::Result<()> {
    const WRITES: usize = 20;
    let env = StatusEnv::new("fight").await?;
    let replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.reason("s", "Fetching").await?;
    env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    for _ in 0..WRITES {
        env.reason("s", "Reconciled").await?;
        let theirs = json!([{"type": "WorkflowReconciled", "status": "False", "reason": "UpdateFailed"}]);
        env.manual.set_status("s", json!({"conditions": theirs})).await?;
    }
    env.reason("s", "Reconciled").await?;
    env.sync_marker("marker").await?;
    let wanted = 2 + WRITES + 1;
    assert_eq!(
        replica.written_by_now(wanted).await,
        wanted,
        "the pod's two, one for each of its writes, and the marker"
    );
    assert_eq!(env.until_event("s", "WorkflowDelivered").await?, ["WorkflowDelivered"], "published once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_leader_reports_outcomes_of_deleted_pods() -> anyhow::Result<()> {
    let env = StatusEnv::new("no-leader").await?;
    let (first, second) = (env.replica(false).await?, env.replica(false).await?);
    for at in 0..20 {
        let name = format!("s-{at}");
        env.manual.begin(session(&name)).await?;
        env.manual.end(&name, 40, "Error", &message(Exit::TooLarge, "too much")).await?;
        env.manual.delete_pod(&name).await?;
    }
    second.until_synced(&env).await?;
    assert_eq!((first.written(), second.written()), (0, 0), "no leader");
    first.kill().await;
    second.lead(true);
    for at in 0..20 {
        assert_eq!(env.reason(&format!("s-{at}"), "TooLarge").await?.message, "too much");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outcomes_while_leaders_are_killed() -> anyhow::Result<()> {
    let env = StatusEnv::new("moving").await?;
    let mut standby = env.replica(false).await?;
    let mut leader = env.replica(true).await?;
    for round in 0..10 {
        let names: Vec<_> = (0..10).map(|at| format!("s-{round}-{at}")).collect();
        stream::iter(names.iter().map(Ok))
            .try_for_each_concurrent(4, |name| {
                let manual = env.manual.clone();
                async move {
                    manual.begin(session(name)).await?;
                    manual.end(name, 21, "Error", &message(Exit::RepositoryNotFound, "none")).await?;
                    manual.delete_pod(name).await
                }
            })
            .await?;
        // In the middle of its writes the leader goes; for a moment both may believe that they lead.
        standby.lead(true);
        leader.kill().await;
        leader = standby;
        standby = env.replica(false).await?;
        for name in names {
            env.reason(&name, "RepositoryNotFound").await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_over_for_a_session_recreated_under_the_same_name() -> anyhow::Result<()> {
    let env = StatusEnv::new("again").await?;
    let _replica = env.replica(true).await?;
    env.manual.begin(session("s")).await?;
    env.manual.end("s", 22, "Error", &message(Exit::RefNotFound, "first")).await?;
    env.reason("s", "RefNotFound").await?;
    env.manual.sessions().delete("s", &DeleteParams::default()).await?;
    env.manual.delete_pod("s").await?;
    env.manual.begin(session("s")).await?;
    assert_eq!(env.reason("s", "Fetching").await?.status, "Unknown");
    env.manual.end("s", 0, "Completed", &message(Exit::Reconciled, "delivered")).await?;
    env.reason("s", "Reconciled").await?;
    Ok(())
}
