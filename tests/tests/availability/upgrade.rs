//! An upgrade to another build and a rollback, while sessions run and others are created: no pod is denied, no outcome is
//! lost, and each delivery is checked against the image that it was injected with.
//!
//! The other build is the same programs with other bytes: other images, layers and digests.

use anyhow::ensure;
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR};
use workflow_tests::delivered::{expected, found};
use workflow_tests::dry_runs::{DryRuns, dry_run, injected_image};
use workflow_tests::env::TestEnv;
use workflow_tests::holding_proxy::HoldingProxy;
use workflow_tests::images::Build;
use workflow_tests::installed::Installed;
use workflow_tests::installer::Installer;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, Session, SessionBuilder, SessionView};
use workflow_tests::wait::until_so;

use crate::{TURN, runs_with_its_workflow};

/// Image of a session's init container.
async fn injected(env: &TestEnv, session: &str) -> anyhow::Result<Option<String>> {
    injected_image(&env.pod(session).await?)
}

/// Creates a session, waits for its delivery and returns its condition.
async fn delivered(env: &TestEnv, name: &str, url: &str) -> anyhow::Result<Condition> {
    env.create(SessionBuilder::new(name).workflow(url, "main")).await?;
    let session = env.session_until(name, "its workflow", runs_with_its_workflow).await?;
    Ok(session.workflow_reconciled().unwrap_or_default())
}

/// Runs `change` under dry runs of this session's pod, none of which may fail.
async fn under_dry_runs(
    env: &TestEnv,
    session: &Session,
    change: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runs = DryRuns::start(env.pods(), session.clone());
    let changed = change.await;
    let ended = runs.stop().await;
    changed.and(ended)
}

/// Waits until the replaced replicas are gone.
async fn until_old_replicas_are_gone(installer: &Installer) -> anyhow::Result<()> {
    let rollout = ["-n", INJECTOR, "rollout", "status", "deployment/workflow-injector", "--timeout=180s"];
    installer.kubectl(&rollout).await?;
    let pods = ["-n", INJECTOR, "get", "pods", "-l", INJECTOR_SELECTOR, "-o", "name"];
    let two = || async { Ok(installer.kubectl(&pods).await?.lines().count() == 2) };
    until_so("the old replicas to go", two).await
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_and_rollback_deny_no_pod_and_lose_no_outcome() {
    with_namespace(|namespace| async move {
        let _turn = TURN.lock().await;
        let installer = Installer::new(&namespace.cluster);
        if !namespace.cluster.is_local() {
            // A test does not push images of another build to a real registry.
            return Ok(());
        }
        let (old, new) = (Build::current()?, installer.other_build().await?);
        ensure!(old.injector != new.injector && old.fetcher != new.fetcher, "they are two builds");
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        installer.put_back_after(async || upgrade_and_roll_back(&env, &installer, &old, &new).await).await
    })
    .await;
}

async fn upgrade_and_roll_back(
    env: &TestEnv,
    installer: &Installer,
    old: &Build,
    new: &Build,
) -> anyhow::Result<()> {
    let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
    let proxy = HoldingProxy::start(env.git.address().ip(), &env.git.address()).await?;
    installer.install(old).await?;
    let before = delivered(env, "before", repository.url()).await?;
    assert_eq!(injected(env, "before").await?, Some(old.fetcher.clone()));
    let session = env.sessions().get("before").await?;

    // A session whose fetch is in progress while the injector is replaced.
    env.create(SessionBuilder::new("under-way").workflow(&proxy.url(repository.url()), "main")).await?;
    proxy.wait_for_connection().await?;
    under_dry_runs(env, &session, async {
        installer.install(new).await?;
        proxy.release();
        until_old_replicas_are_gone(installer).await
    })
    .await?;
    let under_way = env.session_until("under-way", "its workflow", runs_with_its_workflow).await?;
    assert_eq!(injected(env, "under-way").await?, Some(old.fetcher.clone()));
    assert_eq!(under_way.workflow_reconciled().unwrap_or_default().reason, "Reconciled");
    let record = env.runner("under-way").record().await?;
    assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
    assert_eq!(env.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    env.delete("under-way").await?;

    delivered(env, "after", repository.url()).await?;
    assert_eq!(injected(env, "after").await?, Some(new.fetcher.clone()));
    let images = [
        "-n",
        INJECTOR,
        "get",
        "pods",
        "-l",
        INJECTOR_SELECTOR,
        "-o",
        "jsonpath={.items[*].spec.containers[?(@.name=='workflow-injector')].image}",
    ];
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", new.injector));
    env.delete("after").await?;

    // Roll back the program alone, then all that was installed before.
    under_dry_runs(env, &session, async {
        let undo = ["-n", INJECTOR, "rollout", "undo", "deployment/workflow-injector"];
        installer.kubectl(&undo).await?;
        until_old_replicas_are_gone(installer).await
    })
    .await?;
    assert_eq!(installer.kubectl(&images).await?, format!("{0} {0}", old.injector));
    under_dry_runs(env, &session, async { installer.install(old).await.map(drop) }).await?;
    assert_eq!(env.sessions().get("before").await?.workflow_reconciled().as_ref(), Some(&before));
    let webhook = Installed::in_cluster(&env.namespace.cluster.client);
    let injected_by_old = until_so("pods to be injected by the old build", || async {
        webhook.refresh_mounts().await?;
        let pod = dry_run(&env.pods(), &session).await?;
        Ok(injected_image(&pod)?.as_ref() == Some(&old.fetcher))
    });
    under_dry_runs(env, &session, injected_by_old).await?;
    env.delete("before").await
}
