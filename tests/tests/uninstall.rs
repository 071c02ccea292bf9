//! What a real node makes of an injector that goes while a workflow is being fetched: the delivery ends, the runner
//! starts, and sessions that come are the platform's own.
//!
//! `removal.rs` has what is left behind, on an API server of its own.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use workflow_contract::names::{INIT_CONTAINER, INJECTOR, runner_pod};
use workflow_tests::delivered::{expected, found};
use workflow_tests::env::TestEnv;
use workflow_tests::holding_proxy::HoldingProxy;
use workflow_tests::images::Build;
use workflow_tests::installed::until_unregistered;
use workflow_tests::installer::Installer;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};
use workflow_tests::wait::PATIENCE;

/// Begins a session called `name` whose delivery waits, lets the injector go by `goes`, and sees the session through.
async fn a_session_in_flight_ends_well(
    env: &TestEnv,
    installer: &Installer,
    name: &str,
    goes: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let repository = env.git.repository(&format!("acme/{name}")).file("README.md", "# Flow\n").create()?;
    let proxy = HoldingProxy::start(env.git.address().ip(), &env.git.address()).await?;
    env.create(SessionBuilder::new(name).workflow(&proxy.url(repository.url()), "main")).await?;
    proxy.wait_for_connection().await?;
    goes.await?;
    proxy.release();

    let running = |session: &workflow_tests::session::Session| session.phase() == Some(Phase::Running);
    env.session_until(name, "phase Running", running).await?;
    let pod = env.pod(name).await?;
    assert_eq!(pod.metadata.finalizers, None);
    let record = env.runner(name).record().await?;
    assert_eq!(found(&record, name), Some(expected(&repository, "main")?));

    let log = installer
        .kubectl(&["-n", &env.namespace.name, "logs", &runner_pod(name), "-c", INIT_CONTAINER])
        .await?;
    assert!(!log.is_empty(), "the init container's log can be read");

    let after = format!("{name}-after");
    env.create(SessionBuilder::new(&after).workflow(repository.url(), "main")).await?;
    env.session_until(&after, "phase Running", running).await?;
    let spec = env.pod(&after).await?.spec.unwrap_or_default();
    let init: Vec<_> = spec.init_containers.unwrap_or_default().into_iter().map(|one| one.name).collect();
    assert!(!init.contains(&INIT_CONTAINER.to_owned()), "{init:?}");
    for session in [name, &after] {
        env.delete(session).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_flight_end_well_when_the_injector_is_uninstalled_or_its_namespace_deleted() {
    with_namespace(|namespace| async move {
        let installer = Installer::new(&namespace.cluster);
        let client = namespace.cluster.client.clone();
        let env = TestEnv::new(namespace, Mode::Plain).await?;
        let story = async || {
            let uninstalled = async { installer.uninstall().await.map(drop) };
            Box::pin(a_session_in_flight_ends_well(&env, &installer, "uninstall", uninstalled)).await?;

            installer.install(&Build::current()?).await?;
            let deleted = async {
                let namespaces: Api<Namespace> = Api::all(client.clone());
                let uid = namespaces.get(INJECTOR).await?.metadata.uid.unwrap_or_default();
                namespaces.delete(INJECTOR, &DeleteParams::default()).await?;
                let gone = await_condition(namespaces, INJECTOR, conditions::is_deleted(&uid));
                tokio::time::timeout(PATIENCE, gone).await??;
                until_unregistered(&client).await
            };
            Box::pin(a_session_in_flight_ends_well(&env, &installer, "namespace", deleted)).await
        };
        installer.put_back_after(story).await
    })
    .await;
}
