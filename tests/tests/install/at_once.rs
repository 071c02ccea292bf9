//! Everything applied at once, as GitOps tools do: no order, no check in between, again and again.

use anyhow::ensure;
use kube::ResourceExt;
use serde_json::json;
use workflow_certs::Lifetimes;
use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, INJECTOR, RUNNER_CONTAINER};
use workflow_injector::cli::check::Scope;
use workflow_injector::replica::Issuer;
use workflow_tests::controllers;
use workflow_tests::installed::until_unregistered;
use workflow_tests::session::{Session, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists, until_so};

use crate::installation::{Installation, kubectl};
use crate::removal::leftovers;
use crate::sessions::{Sessions, init_containers};

const EVERYTHING: &str = "manifests/complete/self-managed";

/// Everything was applied; a session was created and its pod denied before the replica started.
async fn with_denied_session(namespace: &str) -> anyhow::Result<(Installation, Sessions)> {
    let mut early = None;
    let installation = Installation::from_directory(EVERYTHING, async |cluster| {
        let sessions = Sessions::begin(cluster, namespace).await?;
        sessions.request("early").await?;
        let denied = |session: &Session| {
            session.condition("PodCreated").is_some_and(|condition| condition.reason == "CreateFailed")
        };
        until_exists(&sessions.api(), "early", "denial of the pod", TIMEOUT, denied).await?;
        early = Some(sessions);
        Ok(Issuer::SelfManaged(Lifetimes::default()))
    })
    .await?;
    let sessions = early.ok_or_else(|| anyhow::anyhow!("no session was created"))?;
    Ok((installation, sessions))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_denied_before_the_first_replica_get_workflow_and_prompt() -> anyhow::Result<()> {
    let (installation, sessions) = with_denied_session("at-once").await?;
    installation.expect_check(Scope::Everything, true, &[]).await?;
    let pod = sessions.pod("early").await?;
    assert_eq!(init_containers(&pod), [HYDRATE_CONTAINER, INIT_CONTAINER]);
    let mut containers = pod.spec.into_iter().flat_map(|spec| spec.containers);
    let runner = containers.find(|container| container.name == RUNNER_CONTAINER);
    let env = runner.map(|runner| json!(runner.env).to_string()).unwrap_or_default();
    assert!(env.contains("INITIAL_PROMPT") && !env.contains("IS_RESUME"), "{env}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_again_changes_nothing_and_loses_no_session() -> anyhow::Result<()> {
    let (installation, sessions) = with_denied_session("again").await?;
    installation.expect_check(Scope::Everything, true, &[]).await?;
    let registered = async || -> anyhow::Result<String> {
        let mut registration = installation.registrations().get(INJECTOR).await?;
        // managedFields and times may change.
        registration.metadata.managed_fields = None;
        registration.metadata.resource_version = None;
        registration.metadata.generation = None;
        registration.annotations_mut().retain(|key, _| !key.starts_with("kubectl."));
        Ok(serde_json::to_string(&registration)?)
    };
    let before = registered().await?;
    let ways: [&[&str]; 4] = [
        &["apply", "--server-side", "--force-conflicts"],
        &["apply"],
        &["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller"],
        &["replace"],
    ];
    for (at, way) in ways.iter().enumerate() {
        kubectl(&[way, &["-k", EVERYTHING][..]].concat())?;
        // `replace` drops caBundle and the owner: the pods of this session are denied until the leader has restored both.
        let name = format!("session-{at}");
        assert_eq!(sessions.create(&name).await?, [HYDRATE_CONTAINER, INIT_CONTAINER], "{way:?}");
        until_so(&format!("the registration to be as before {way:?}"), || async {
            let after = registered().await?;
            ensure!(after == before, "it is {after}");
            Ok(true)
        })
        .await?;
    }
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_what_was_applied_leaves_nothing() -> anyhow::Result<()> {
    let (mut installation, _sessions) = with_denied_session("deleted").await?;
    installation.expect_check(Scope::Everything, true, &[]).await?;
    controllers::start()?;
    let deleted = tokio::task::spawn_blocking(|| kubectl(&["delete", "--timeout=60s", "-k", EVERYTHING]));
    until_unregistered(&installation.client).await?;
    installation.end_replica();
    deleted.await??;
    assert_eq!(leftovers()?, "");
    Ok(())
}
