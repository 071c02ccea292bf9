//! While the injector can't reach the API server: pods of cached sessions are injected, pods of other sessions are denied
//! with a message, and other pods are admitted.

use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::ObjectRef;
use kube::{Config, ResourceExt};
use workflow_contract::names::{INIT_CONTAINER, INJECTOR};
use workflow_tests::api_server;
use workflow_tests::fault_proxy::{FaultProxy, Link};
use workflow_tests::session::{Session, SessionBuilder};
use workflow_tests::wait::{TIMEOUT, until_so};

use crate::common::{AdmissionEnv, AdmissionServer, denial, init_containers, operator_pod};

const URL: &str = "https://git.invalid/o/r.git";

/// The configuration of a client that connects through the proxy.
async fn through(proxy: &FaultProxy) -> anyhow::Result<Config> {
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::from_yaml(&api_server::server()?.admin_kubeconfig())?,
        &KubeConfigOptions::default(),
    )
    .await?;
    config.cluster_url = format!("https://127.0.0.1:{}", proxy.port).parse()?;
    Ok(config)
}

/// Waits until the session is in the injector's cache.
async fn until_cached(injector: &AdmissionServer, session: &Session) -> anyhow::Result<()> {
    let key = ObjectRef::new(&session.name_any()).within(&session.namespace().unwrap_or_default());
    let cached = async {
        while injector.caches.sessions.get(&key).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, cached).await.context("the session is not cached")
}

async fn expect_injection_from_cache(name: &str, link: Link) -> anyhow::Result<()> {
    let env = AdmissionEnv::new(name).await?;
    let url: http::Uri = env.namespace.cluster.url().parse()?;
    let proxy =
        FaultProxy::start(url.authority().context("the API server has an address")?.to_string()).await?;
    let injector = AdmissionServer::start(through(&proxy).await?).await?;
    env.register(INJECTOR, injector.server.client_config()?).await?;
    let with_workflow = |name: &str| SessionBuilder::new(name).workflow(URL, "main");
    let cached = env.session(with_workflow("cached")).await?;
    until_cached(&injector, &cached).await?;
    let pod = operator_pod(&cached);
    until_so("the injector to be called", || async {
        Ok(init_containers(&env.dry_run(&pod).await?).contains(&INIT_CONTAINER.to_owned()))
    })
    .await?;

    proxy.set(link);
    let not_cached = env.session(with_workflow("not-cached")).await?;
    let stored = env.create(&pod, "").await?;
    assert!(init_containers(&stored).contains(&INIT_CONTAINER.to_owned()));
    let message = denial(env.create(&operator_pod(&not_cached), "").await)?;
    assert!(message.contains("cannot be read now"), "{message}");
    let without = env.session(SessionBuilder::new("without")).await?;
    env.create(&operator_pod(&without), "").await?;

    proxy.set(Link::Up);
    until_so("the denied pod to be admitted", || async {
        Ok(env.dry_run(&operator_pod(&not_cached)).await.is_ok())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn injects_only_cached_sessions_while_connections_break() -> anyhow::Result<()> {
    expect_injection_from_cache("broken", Link::Broken).await
}

#[tokio::test(flavor = "multi_thread")]
async fn injects_only_cached_sessions_while_packets_are_lost() -> anyhow::Result<()> {
    expect_injection_from_cache("silent", Link::Silent).await
}
