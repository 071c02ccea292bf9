//! Sessions of a fake operator, whose pods have no kubelet.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, RUNNER_CONTAINER, runner_pod};
use workflow_tests::cluster::Cluster;
use workflow_tests::kubelet::NO_SCHEDULER;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{FakeOperator, Mode, Settings};
use workflow_tests::session::{self, Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until, until_exists};

const URL: &str = "https://git.invalid/o/r.git";

/// A namespace with an operator, whose pods have no kubelet.
pub struct Sessions {
    pub namespace: TestNamespace,
    _operator: FakeOperator,
}

impl Sessions {
    pub async fn begin(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let namespace = TestNamespace::named(cluster.clone(), name).await?;
        let settings =
            Settings { scheduler: Some(NO_SCHEDULER.to_owned()), ..Settings::new("local.test/none:1") };
        let operator = FakeOperator::start(cluster.client.clone(), name, Mode::Plain, settings);
        Ok(Self { namespace, _operator: operator })
    }

    pub fn api(&self) -> Api<session::Session> {
        session::api(self.namespace.cluster.client.clone(), &self.namespace.name)
    }

    /// Creates a session with a workflow.
    pub async fn request(&self, name: &str) -> anyhow::Result<()> {
        let session = SessionBuilder::new(name).workflow(URL, "main").build();
        self.api().create(&PostParams::default(), &session).await?;
        Ok(())
    }

    /// Waits for a session's pod.
    pub async fn pod(&self, name: &str) -> anyhow::Result<Pod> {
        let creating = |session: &session::Session| session.phase() == Some(Phase::Creating);
        until_exists(&self.api(), name, "phase Creating", TIMEOUT, creating).await?;
        let pod = self.namespace.api::<Pod>().get(&runner_pod(name)).await?;
        assert_eq!(pod.metadata.finalizers, None);
        Ok(pod)
    }

    /// Creates a session, waits for its pod and returns the names of its init containers.
    pub async fn create(&self, name: &str) -> anyhow::Result<Vec<String>> {
        self.request(name).await?;
        Ok(init_containers(&self.pod(name).await?))
    }

    /// Writes the status of a pod with a delivered workflow and a started runner; waits until the session runs.
    pub async fn run(&self, name: &str) -> anyhow::Result<()> {
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
        until_exists(&self.api(), name, "phase Running", TIMEOUT, running).await.map(drop)
    }

    /// Deletes a session's pod and waits for its deletion.
    pub async fn delete_pod(&self, name: &str) -> anyhow::Result<()> {
        let pods = self.namespace.api::<Pod>();
        let uid = pods.get(&runner_pod(name)).await?.metadata.uid;
        pods.delete(&runner_pod(name), &DeleteParams::default().grace_period(0)).await?;
        let deleted = |pod: Option<&Pod>| pod.is_none_or(|pod| pod.metadata.uid != uid);
        until(&pods, &runner_pod(name), "deletion of the pod", TIMEOUT, deleted).await.map(drop)
    }
}

/// Names of a pod's init containers.
pub fn init_containers(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.map(|container| container.name.clone()).collect()
}

fn container(name: &str, state: &Value) -> Value {
    json!({
        "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "started": true, "state": state,
    })
}
