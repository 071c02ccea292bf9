//! From one build to another and back, while sessions run and others come: nobody is refused, no outcome is lost, and
//! each delivery is judged by the image that it was injected with.
//!
//! The other build is the same programs with other bytes: other images, layers and digests.

use anyhow::ensure;
use workflow_contract::names::INJECTOR;
use workflow_tests::delivered::{expected, found};
use workflow_tests::dry_runs::{DryRuns, dry_run, injected_image};
use workflow_tests::gate::Gate;
use workflow_tests::images::Build;
use workflow_tests::installed::Installed;
use workflow_tests::installer::Installer;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, Phase, Session, SessionBuilder, SessionView};
use workflow_tests::stage::Stage;
use workflow_tests::wait::until_so;

/// Image of a session's init container.
async fn injected(stage: &Stage, session: &str) -> anyhow::Result<Option<String>> {
    injected_image(&stage.pod(session).await?)
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

/// Runs `change` under dry runs of this session's pod, none of which may be lost.
async fn under_dry_runs(
    stage: &Stage,
    session: &Session,
    change: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runs = DryRuns::begin(stage.pods(), session.clone());
    let changed = change.await;
    let ended = runs.end().await;
    changed.and(ended)
}

/// Waits until the replicas that were told to end are gone.
async fn until_old_replicas_are_gone(installer: &Installer) -> anyhow::Result<()> {
    let rollout = ["-n", INJECTOR, "rollout", "status", "deployment/workflow-injector", "--timeout=180s"];
    installer.kubectl(&rollout).await?;
    let pods = ["-n", INJECTOR, "get", "pods", "-o", "name"];
    let two = || async { Ok(installer.kubectl(&pods).await?.lines().count() == 2) };
    until_so("the old replicas to go", two).await
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
    assert_eq!(injected(stage, "before").await?, Some(old.fetcher.clone()));
    let session = stage.sessions().get("before").await?;

    // One that is being delivered while all of the injector is replaced.
    stage.create(SessionBuilder::new("under-way").workflow(&gate.url(repository.url()), "main")).await?;
    gate.until_somebody_waits().await?;
    under_dry_runs(stage, &session, async {
        installer.install(new).await?;
        gate.open();
        until_old_replicas_are_gone(installer).await
    })
    .await?;
    let under_way = stage.session_until("under-way", "its workflow", runs_with_its_workflow).await?;
    assert_eq!(injected(stage, "under-way").await?, Some(old.fetcher.clone()));
    assert_eq!(under_way.workflow_reconciled().unwrap_or_default().reason, "Reconciled");
    let record = stage.runner("under-way").record().await?;
    assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
    assert_eq!(stage.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    stage.end("under-way").await?;

    delivered(stage, "after", repository.url()).await?;
    assert_eq!(injected(stage, "after").await?, Some(new.fetcher.clone()));
    let images = ["-n", INJECTOR, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}"];
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", new.injector));
    stage.end("after").await?;

    // Back: the program alone at once, then all that was installed before.
    under_dry_runs(stage, &session, async {
        let undo = ["-n", INJECTOR, "rollout", "undo", "deployment/workflow-injector"];
        installer.kubectl(&undo).await?;
        until_old_replicas_are_gone(installer).await
    })
    .await?;
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", old.injector));
    under_dry_runs(stage, &session, async { installer.install(old).await.map(drop) }).await?;
    assert_eq!(stage.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    let webhook = Installed::in_cluster(&stage.namespace.cluster.client);
    let by_the_old = until_so("pods to be injected by the old build", || async {
        webhook.nudge().await?;
        let pod = dry_run(&stage.pods(), &session).await?;
        Ok(injected_image(&pod)?.as_ref() == Some(&old.fetcher))
    });
    under_dry_runs(stage, &session, by_the_old).await?;
    stage.end("before").await
}
