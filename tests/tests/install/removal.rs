//! The injector goes: by its own command, by `manifests/uninstall`, or with its namespace. Nothing is left, nothing is
//! stuck, and sessions, also those in flight, go on as if it had never been.
//!
//! On an API server of the test's own with Kubernetes' controllers for deletion; the kubelet is played.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use workflow_contract::names::{
    HYDRATE_CONTAINER, INIT_CONTAINER, INJECTOR, INJECTOR_SELECTOR, RUNNER_CONTAINER, runner_pod,
};
use workflow_injector::cli::cleanup;
use workflow_tests::controllers;
use workflow_tests::installed::until_unregistered;
use workflow_tests::kubelet::NO_SCHEDULER;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{FakeOperator, Mode, Settings};
use workflow_tests::session::{self, Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until, until_exists};

use crate::installation::{Installation, run};

const URL: &str = "https://git.invalid/o/r.git";

/// A namespace with an operator whose pods a test runs by hand.
struct Sessions {
    namespace: TestNamespace,
    _operator: FakeOperator,
}

impl Sessions {
    async fn begin(installation: &Installation, name: &str) -> anyhow::Result<Self> {
        let namespace = TestNamespace::named(installation.cluster.clone(), name).await?;
        let settings =
            Settings { scheduler: Some(NO_SCHEDULER.to_owned()), ..Settings::new("local.test/none:1") };
        let operator = FakeOperator::start(installation.client.clone(), name, Mode::Plain, settings);
        Ok(Self { namespace, _operator: operator })
    }

    fn api(&self) -> Api<session::Session> {
        session::api(self.namespace.cluster.client.clone(), &self.namespace.name)
    }

    /// Creates a session, waits for its pod and gives the names of its init containers.
    async fn create(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let session = SessionBuilder::new(name).workflow(URL, "main").build();
        self.api().create(&PostParams::default(), &session).await?;
        let creating = |session: &session::Session| session.phase() == Some(Phase::Creating);
        until_exists(&self.api(), name, "phase Creating", PATIENCE, creating).await?;
        let pod = self.namespace.api::<Pod>().get(&runner_pod(name)).await?;
        assert_eq!(pod.metadata.finalizers, None);
        let containers = pod.spec.and_then(|spec| spec.init_containers).unwrap_or_default();
        Ok(containers.into_iter().map(|container| container.name).collect())
    }

    /// Plays a kubelet that has the workflow delivered and starts the runner, and waits until the session runs.
    async fn run(&self, name: &str) -> anyhow::Result<()> {
        let done =
            |name: &str| container(name, &json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        let runs = container(RUNNER_CONTAINER, &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
        let status = json!({"status": {
            "phase": "Running", "containerStatuses": [runs],
            "initContainerStatuses": [done(HYDRATE_CONTAINER), done(INIT_CONTAINER)],
        }});
        let pods = self.namespace.api::<Pod>();
        pods.patch_status(&runner_pod(name), &PatchParams::default(), &Patch::Merge(status)).await?;
        let running = |session: &session::Session| session.phase() == Some(Phase::Running);
        until_exists(&self.api(), name, "phase Running", PATIENCE, running).await.map(drop)
    }

    /// Deletes a session's pod and waits until it is gone.
    async fn pod_goes(&self, name: &str) -> anyhow::Result<()> {
        let pods = self.namespace.api::<Pod>();
        let uid = pods.get(&runner_pod(name)).await?.metadata.uid;
        pods.delete(&runner_pod(name), &DeleteParams::default().grace_period(0)).await?;
        let gone = |pod: Option<&Pod>| pod.is_none_or(|pod| pod.metadata.uid != uid);
        until(&pods, &runner_pod(name), "the pod to go", PATIENCE, gone).await.map(drop)
    }
}

fn container(name: &str, state: &Value) -> Value {
    json!({
        "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "started": true, "state": state,
    })
}

/// What of the installation can be found by its label, by kind.
fn leftovers() -> anyhow::Result<String> {
    const KINDS: &str = "namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations,roles,rolebindings,deployments,services,configmaps,\
                         serviceaccounts,secrets,leases,networkpolicies,poddisruptionbudgets";
    run("target/cluster/bin/kubectl", &["get", KINDS, "-A", "-o", "name", "-l", INJECTOR_SELECTOR])
}

/// Sessions in flight end well, sessions that come are the platform's own again.
async fn sessions_go_on(sessions: &Sessions) -> anyhow::Result<()> {
    sessions.run("in-flight").await?;
    let condition = sessions.api().get("in-flight").await?.workflow_reconciled();
    assert_eq!(
        condition.map(|condition| condition.reason).as_deref(),
        Some("Fetching"),
        "the last that was written stays"
    );
    sessions.pod_goes("in-flight").await?;
    assert_eq!(sessions.create("after").await?, [HYDRATE_CONTAINER], "nobody is asked any more");
    sessions.run("after").await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_namespace_removes_the_registration_and_refuses_nobody_afterwards() -> anyhow::Result<()>
{
    let mut installation = Installation::sound().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation, "namespace-goes").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    fetching(&sessions).await?;

    let namespaces: Api<Namespace> = Api::all(installation.client.clone());
    let uid = namespaces.get(INJECTOR).await?.metadata.uid.unwrap_or_default();
    namespaces.delete(INJECTOR, &DeleteParams::default()).await?;
    installation.end_replica();
    let gone = await_condition(namespaces, INJECTOR, conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await??;
    until_unregistered(&installation.client).await?;
    sessions_go_on(&sessions).await?;

    drop(installation);
    Installation::sound().await.map(drop)
}

/// Waits until the session in flight says so.
async fn fetching(sessions: &Sessions) -> anyhow::Result<()> {
    let says = |session: &session::Session| {
        session.workflow_reconciled().is_some_and(|condition| condition.reason == "Fetching")
    };
    until_exists(&sessions.api(), "in-flight", "Fetching", PATIENCE, says).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_with_a_session_in_flight_leaves_nothing_behind_and_nothing_stuck() -> anyhow::Result<()>
{
    let mut installation = Installation::sound().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation, "uninstall").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    fetching(&sessions).await?;

    assert!(leftovers()?.contains("mutatingwebhookconfiguration"), "what is installed is found");
    let said = run("manifests/uninstall", &[])?;
    installation.end_replica();
    assert!(said.contains("uninstall: done"), "{said}");
    assert_eq!(leftovers()?, "");
    sessions_go_on(&sessions).await?;

    // A second time there is nothing to remove, and nothing to complain about.
    assert!(run("manifests/uninstall", &[])?.contains("uninstall: done"));
    drop(installation);
    Installation::sound().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_removes_what_was_made_at_run_time_and_the_rest_can_be_deleted() -> anyhow::Result<()> {
    let mut installation = Installation::sound().await?;
    controllers::start()?;
    let sessions = Sessions::begin(&installation, "cleanup").await?;
    assert_eq!(sessions.create("in-flight").await?, [HYDRATE_CONTAINER, INIT_CONTAINER]);
    fetching(&sessions).await?;

    // It waits for the pods of the replicas, which here nobody else ends.
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
    let said = String::from_utf8(out)?;
    let first = said.lines().next().unwrap_or_default();
    assert_eq!(first, "removed  MutatingWebhookConfiguration workflow-injector");
    for line in ["removed  Secret workflow-injector-tls", "removed  Lease workflow-injector"] {
        assert!(said.lines().any(|said| said == line), "{said}");
    }
    assert_eq!(leftovers()?.lines().filter(|line| line.contains("webhookconfiguration")).count(), 0);
    sessions_go_on(&sessions).await?;

    run("manifests/uninstall", &[])?;
    assert_eq!(leftovers()?, "");
    Ok(())
}
