//! From one build to another and back, while sessions run and others come: nobody is refused, no outcome is lost, and
//! each delivery is judged by the image that it was injected with.
//!
//! The other build is the same programs with other bytes: other images, layers and digests.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::Value;
use tokio::sync::oneshot;
use workflow_contract::names::{INIT_CONTAINER, INJECTOR, STAMP_ANNOTATION};
use workflow_tests::delivered::{expected, found};
use workflow_tests::gate::Gate;
use workflow_tests::images::Build;
use workflow_tests::installed::Installed;
use workflow_tests::installer::Installer;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::{Mode, Settings, session_pod};
use workflow_tests::session::{Condition, Phase, Session, SessionBuilder, SessionView};
use workflow_tests::stage::Stage;
use workflow_tests::wait::PATIENCE;

/// Time between two looks at what can't be watched; calls come ten times as often.
const PAUSE: Duration = Duration::from_millis(300);

/// Image and stamp of a session's init container.
async fn injected(stage: &Stage, session: &str) -> anyhow::Result<(String, String)> {
    let pod = stage.pod(session).await?;
    let stamp = pod.metadata.annotations.unwrap_or_default().remove(STAMP_ANNOTATION).unwrap_or_default();
    let stamp: Value = serde_json::from_str(&stamp)?;
    let containers = pod.spec.unwrap_or_default().init_containers.unwrap_or_default();
    let image = containers.into_iter().find(|container| container.name == INIT_CONTAINER);
    let image = image.and_then(|container| container.image).unwrap_or_default();
    Ok((image, stamp["image"].as_str().unwrap_or_default().to_owned()))
}

fn runs_with_its_workflow(session: &Session) -> bool {
    let reconciled = session.workflow_reconciled().is_some_and(|condition| condition.status == "True");
    session.phase() == Some(Phase::Running) && reconciled
}

/// Has a session delivered, and gives its condition.
async fn delivered(stage: &Stage, name: &str, url: &str) -> anyhow::Result<Condition> {
    stage.create(SessionBuilder::new(name).workflow(url, "main")).await?;
    let session = stage.session_until(name, "its workflow", runs_with_its_workflow).await?;
    Ok(session.workflow_reconciled().unwrap_or_default())
}

/// Runs `change` while the pod of this session is created again and again, with `dryRun`; gives how often, and fails if
/// one was refused or came back without the init container.
async fn under_calls(
    stage: &Stage,
    session: &Session,
    change: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<u32> {
    let mut pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
    pod.metadata.name = Some("called".to_owned());
    let (pods, dry_run) = (stage.pods(), PostParams { dry_run: true, ..PostParams::default() });
    let (stop, mut stopped) = oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut count = 0;
        // A sender that is gone is the end.
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            let created = pods.create(&dry_run, &pod).await?;
            let containers = created.spec.unwrap_or_default().init_containers.unwrap_or_default();
            ensure!(containers.iter().any(|one| one.name == INIT_CONTAINER), "a pod was not injected");
            count += 1;
            tokio::time::sleep(PAUSE / 10).await;
        }
        Ok(count)
    });
    let changed = change.await;
    drop(stop);
    let count = calls.await?;
    changed?;
    count
}

/// Waits until the replicas that were told to end are gone.
async fn until_old_replicas_are_gone(installer: &Installer) -> anyhow::Result<()> {
    let rollout = ["-n", INJECTOR, "rollout", "status", "deployment/workflow-injector", "--timeout=180s"];
    installer.kubectl(&rollout).await?;
    let pods = ["-n", INJECTOR, "get", "pods", "-o", "name"];
    tokio::time::timeout(PATIENCE, async {
        while installer.kubectl(&pods).await?.lines().count() > 2 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
    .await?
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_rollback_refuse_nobody_and_lose_no_outcome() {
    with_namespace(|namespace| async move {
        let installer = Installer::new(&namespace.cluster);
        if !namespace.cluster.is_local() {
            // Whether this machine may push another build's images to that registry is not a test's to try.
            return Ok(());
        }
        let (old, new) = (Build::current()?, installer.other_build().await?);
        ensure!(old.injector != new.injector && old.fetcher != new.fetcher, "they are two builds");
        let stage = Stage::new(namespace, Mode::PostRunning).await?;
        installer.put_back_after(async || story(&stage, &installer, &old, &new).await).await
    })
    .await;
}

async fn story(stage: &Stage, installer: &Installer, old: &Build, new: &Build) -> anyhow::Result<()> {
    let repository = stage.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
    let gate = Gate::before(stage.git.address().ip(), &stage.git.address()).await?;
    installer.install(old).await?;
    let before = delivered(stage, "before", repository.url()).await?;
    assert_eq!(injected(stage, "before").await?, (old.fetcher.clone(), old.fetcher.clone()));
    let session = stage.sessions().get("before").await?;

    // One that is being delivered while all of the injector is replaced.
    stage.create(SessionBuilder::new("under-way").workflow(&gate.url(repository.url()), "main")).await?;
    gate.until_somebody_waits().await?;
    let calls = under_calls(stage, &session, async {
        installer.install(new).await?;
        gate.open();
        until_old_replicas_are_gone(installer).await
    });
    ensure!(calls.await? > 0, "nobody called");
    let under_way = stage.session_until("under-way", "its workflow", runs_with_its_workflow).await?;
    assert_eq!(injected(stage, "under-way").await?, (old.fetcher.clone(), old.fetcher.clone()));
    assert_eq!(under_way.workflow_reconciled().unwrap_or_default().reason, "Reconciled");
    let record = stage.runner("under-way").record().await?;
    assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
    assert_eq!(stage.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    stage.end("under-way").await?;

    delivered(stage, "after", repository.url()).await?;
    assert_eq!(injected(stage, "after").await?, (new.fetcher.clone(), new.fetcher.clone()));
    let images = ["-n", INJECTOR, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}"];
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", new.injector));
    stage.end("after").await?;

    // Back: the program alone at once, then all that was installed before.
    let calls = under_calls(stage, &session, async {
        let undo = ["-n", INJECTOR, "rollout", "undo", "deployment/workflow-injector"];
        installer.kubectl(&undo).await?;
        until_old_replicas_are_gone(installer).await
    });
    ensure!(calls.await? > 0, "nobody called");
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", old.injector));
    let calls = under_calls(stage, &session, async { installer.install(old).await.map(drop) });
    ensure!(calls.await? > 0, "nobody called");
    assert_eq!(stage.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    let webhook = Installed::in_cluster(&stage.namespace.cluster.client);
    let back = async {
        loop {
            webhook.nudge().await?;
            let pod = session_pod(&session, &Settings::new("local.test/none:1"));
            let mut pod: Pod = serde_json::from_value(pod)?;
            pod.metadata.name = Some("asked".to_owned());
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let pods: Api<Pod> = stage.pods();
            let created = pods.create(&dry_run, &pod).await?.metadata.annotations.unwrap_or_default();
            if created.get(STAMP_ANNOTATION).is_some_and(|stamp| stamp.contains(&old.fetcher)) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await??;
    stage.end("before").await
}
