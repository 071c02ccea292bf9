//! When the API server asks us, but does not answer us: what is known is injected, what is not known is refused with a
//! message, and nobody else notices.

use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::ObjectRef;
use kube::{Config, ResourceExt};
use workflow_contract::names::{INIT_CONTAINER, INJECTOR};
use workflow_tests::api_server;
use workflow_tests::session::{Session, SessionBuilder};
use workflow_tests::wait::{TIMEOUT, until_so};

use crate::common::{Injector, Stage, init_containers, operator_pod, refusal};
use crate::proxy::{Proxy, Way};

const URL: &str = "https://git.invalid/o/r.git";

/// The cluster, the way to which leads through the proxy.
async fn through(proxy: &Proxy) -> anyhow::Result<Config> {
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&api_server::server()?.admin_kubeconfig())?,
        &KubeConfigOptions::default(),
    )
    .await?;
    config.cluster_url = format!("https://127.0.0.1:{}", proxy.port).parse()?;
    Ok(config)
}

/// Waits until the injector's copies hold the session.
async fn copied(injector: &Injector, session: &Session) -> anyhow::Result<()> {
    let key = ObjectRef::new(&session.name_any()).within(&session.namespace().unwrap_or_default());
    let seen = async {
        while injector.caches.sessions.get(&key).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, seen).await.context("the session is not copied")
}

async fn known_sessions_are_injected_and_others_refused(name: &str, way: Way) -> anyhow::Result<()> {
    let stage = Stage::set(name).await?;
    let url: http::Uri = stage.namespace.cluster.url().parse()?;
    let proxy = Proxy::start(url.authority().context("the API server has an address")?.to_string()).await?;
    let injector = Injector::start(through(&proxy).await?).await?;
    stage.register(INJECTOR, injector.served.client_config()?).await?;
    let asking = |name: &str| SessionBuilder::new(name).workflow(URL, "main");
    let known = stage.session(asking("known")).await?;
    copied(&injector, &known).await?;
    let pod = operator_pod(&known);
    until_so("the injector to be asked", || async {
        Ok(init_containers(&stage.dry_run(&pod).await?).contains(&INIT_CONTAINER.to_owned()))
    })
    .await?;

    proxy.set(way);
    let unknown = stage.session(asking("unknown")).await?;
    let stored = stage.create(&pod, "").await?;
    assert!(init_containers(&stored).contains(&INIT_CONTAINER.to_owned()));
    let message = refusal(stage.create(&operator_pod(&unknown), "").await)?;
    assert!(message.contains("cannot be read now"), "{message}");
    let without = stage.session(SessionBuilder::new("without")).await?;
    stage.create(&operator_pod(&without), "").await?;

    proxy.set(Way::Open);
    until_so("the refused pod to be created", || async {
        Ok(stage.dry_run(&operator_pod(&unknown)).await.is_ok())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_connections_break_known_sessions_are_injected_and_others_refused() -> anyhow::Result<()> {
    known_sessions_are_injected_and_others_refused("broken", Way::Broken).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_is_answered_known_sessions_are_injected_and_others_refused() -> anyhow::Result<()> {
    known_sessions_are_injected_and_others_refused("silent", Way::Silent).await
}
