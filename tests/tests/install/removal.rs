//! Removal of the injector: by `cleanup`, by `manifests/uninstall`, or with its namespace. No object is left or blocked by
//! a finalizer, and sessions continue without it, also those in flight.
//!
//! On an API server of the process with Kubernetes' controllers for deletion, and a fake kubelet.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, INJECTOR, INJECTOR_SELECTOR};
use workflow_injector::cli::cleanup;
use workflow_tests::controllers;
use workflow_tests::installed::until_unregistered;
use workflow_tests::session::{self, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists};

use crate::installation::{Installation, run};
use crate::sessions::Sessions;

/// Names of the installation's objects, found by label.
pub fn leftovers() -> anyhow::Result<String> {
    const KINDS: &str = "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations,roles,rolebindings,deployments,services,configmaps,\
                         serviceaccounts,secrets,leases,networkpolicies,poddisruptionbudgets";
    run("target/cluster/bin/kubectl", &["get", KINDS, "-A", "-o", "name", "-l", INJECTOR_SELECTOR])
}

/// Runs the session in flight and a new one, which must have no init container of ours.
async fn expect_sessions_continue(sessions: &Sessions) -> anyhow::Result<()> {
    sessions.run("in-flight").await?;
    let condition = sessions.api().get("in-flight").await?.workflow_reconciled();
    assert_eq!(
        condition.map(|condition| condition.reason).as_deref(),
        Some("Fetching"),
        "the last condition stays"
    );
    sessions.delete_pod("in-flight").await?;
    assert_eq!(sessions.create("after").await?, [HYDRATE_CONTAINER], "the webhook is still called");
    sessions.run("after").await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_namespace_removes_the_registration_and_denies_no_pod() -> anyhow::Result<()> {
    let mut installation = Installation::healthy().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation.cluster, "namespace-goes").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    until_fetching(&sessions).await?;

    let namespaces: Api<Namespace> = Api::all(installation.client.clone());
    let uid = namespaces.get(INJECTOR).await?.metadata.uid.unwrap_or_default();
    namespaces.delete(INJECTOR, &DeleteParams::default()).await?;
    installation.end_replica();
    let deleted = await_condition(namespaces, INJECTOR, conditions::is_deleted(&uid));
    tokio::time::timeout(TIMEOUT, deleted).await??;
    until_unregistered(&installation.client).await?;
    expect_sessions_continue(&sessions).await?;

    drop(installation);
    Installation::healthy().await.map(drop)
}

/// Waits until the session in flight has the reason `Fetching`.
async fn until_fetching(sessions: &Sessions) -> anyhow::Result<()> {
    let fetching = |session: &session::Session| {
        session.workflow_reconciled().is_some_and(|condition| condition.reason == "Fetching")
    };
    until_exists(&sessions.api(), "in-flight", "Fetching", TIMEOUT, fetching).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_with_a_session_in_flight_leaves_no_object() -> anyhow::Result<()> {
    let mut installation = Installation::healthy().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation.cluster, "uninstall").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    until_fetching(&sessions).await?;

    assert!(leftovers()?.contains("mutatingwebhookconfiguration"), "the installation is found");
    let output = run("manifests/uninstall", &[])?;
    installation.end_replica();
    assert!(output.contains("uninstall: done"), "{output}");
    assert_eq!(leftovers()?, "");
    expect_sessions_continue(&sessions).await?;

    // Without an installation it succeeds, too.
    assert!(run("manifests/uninstall", &[])?.contains("uninstall: done"));
    drop(installation);
    Installation::healthy().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_removes_objects_created_at_run_time() -> anyhow::Result<()> {
    let mut installation = Installation::healthy().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation.cluster, "cleanup").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    until_fetching(&sessions).await?;

    // It waits for the replicas' pods, which no kubelet ends.
    let pods = installation.api::<Pod>();
    let (client, mut out) = (installation.client.clone(), Vec::new());
    let ended = async {
        until_unregistered(&client).await?;
        for pod in ["first", "second"] {
            pods.delete(pod, &DeleteParams::default().grace_period(0)).await?;
        }
        installation.end_replica();
        anyhow::Ok(())
    };
    let (cleaned, ended) = tokio::join!(cleanup::run(client.clone(), &mut out), ended);
    cleaned?;
    ended?;
    let output = String::from_utf8(out)?;
    let first = output.lines().next().unwrap_or_default();
    assert_eq!(first, "removed  MutatingWebhookConfiguration workflow-injector");
    for line in ["removed  Secret workflow-injector-tls", "removed  Lease workflow-injector"] {
        assert!(output.lines().any(|printed| printed == line), "{output}");
    }
    assert_eq!(leftovers()?.lines().filter(|line| line.contains("webhookconfiguration")).count(), 0);
    expect_sessions_continue(&sessions).await?;

    run("manifests/uninstall", &[])?;
    assert_eq!(leftovers()?, "");
    Ok(())
}
