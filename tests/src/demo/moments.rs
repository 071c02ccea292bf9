//! Describes the state of a session and its pod. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt;
use workflow_contract::Termination;
use workflow_contract::names::{INIT_CONTAINER, RUNNER_CONTAINER};

use crate::session::{Session, SessionView};

/// A session and its pod at one time.
#[derive(Clone, Default)]
pub(super) struct Scene {
    pub(super) session: Option<Session>,
    pub(super) pod: Option<Pod>,
}

impl Scene {
    /// Messages for everything that has happened so far, in order.
    pub(super) fn moments(&self) -> Vec<String> {
        let mut moments = Vec::new();
        if let Some(pod) = &self.pod {
            moments.extend(pod_moments(pod));
        }
        if let Some(session) = &self.session {
            moments.extend(session.workflow_reconciled().map(|condition| format!("condition {condition}")));
            moments.extend(session.phase().map(|phase| format!("session is {phase:?}")));
        }
        moments
    }

    pub(super) fn runs(&self) -> bool {
        self.pod
            .as_ref()
            .is_some_and(|pod| container(pod, RUNNER_CONTAINER).is_some_and(|state| state.running.is_some()))
    }
}

fn pod_moments(pod: &Pod) -> Vec<String> {
    let injected = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|init| init.name == INIT_CONTAINER);
    let with = if injected {
        format!("with init container {INIT_CONTAINER}")
    } else {
        "as the operator made it".to_owned()
    };
    let mut moments = vec![format!("pod {} is created, {with}", pod.name_any())];
    moments.extend(fetch_moment(pod, INIT_CONTAINER));
    if container(pod, RUNNER_CONTAINER).is_some_and(|state| state.running.is_some()) {
        moments.push("the runner runs".to_owned());
    }
    for added in pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten()) {
        moments.push(format!("container {} is added to the running pod", added.name));
        moments.extend(fetch_moment(pod, &added.name));
    }
    moments
}

fn fetch_moment(pod: &Pod, name: &str) -> Option<String> {
    match container(pod, name)? {
        ContainerState { running: Some(_), .. } => Some(format!("{name} fetches")),
        ContainerState { terminated: Some(ended), .. } => {
            let message = Termination::parse(ended.message.as_deref().unwrap_or_default()).message;
            Some(format!("{name} ends with exit {}: {message}", ended.exit_code))
        }
        _ => None,
    }
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerState> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let all = init
        .chain(status.container_statuses.iter().flatten())
        .chain(status.ephemeral_container_statuses.iter().flatten());
    let found: Option<&ContainerStatus> = all.into_iter().find(|container| container.name == name);
    found?.state.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::session::SessionBuilder;

    fn pod(status: &Value) -> Pod {
        let spec = json!({ "containers": [], "initContainers": [{ "name": INIT_CONTAINER }] });
        serde_json::from_value(json!({ "metadata": { "name": "s-runner" }, "spec": spec, "status": status }))
            .unwrap()
    }

    fn status(name: &str, state: &Value) -> Value {
        json!({ "name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state })
    }

    #[test]
    fn describes_a_delivery() {
        let ended = json!({ "terminated": { "exitCode": 0, "message": "delivered 0a1b\n{\"v\":1,\"reason\":\"Reconciled\"}" } });
        let pod = pod(&json!({
            "initContainerStatuses": [status(INIT_CONTAINER, &ended)],
            "containerStatuses": [status(RUNNER_CONTAINER, &json!({ "running": {} }))],
        }));
        let mut session = SessionBuilder::new("s").build();
        session.data["status"] = json!({
            "phase": "Running",
            "conditions": [{ "type": "WorkflowReconciled", "status": "True", "reason": "Reconciled", "message": "fine" }],
        });
        let scene = Scene { session: Some(session), pod: Some(pod) };
        assert_eq!(
            scene.moments(),
            [
                "pod s-runner is created, with init container init-workflow",
                "init-workflow ends with exit 0: delivered 0a1b",
                "the runner runs",
                "condition WorkflowReconciled=True/Reconciled \"fine\"",
                "session is Running",
            ]
        );
        assert!(scene.runs());
    }

    #[test]
    fn describes_a_delivery_into_a_running_session() {
        let added = "deliver-workflow-2";
        let mut pod =
            pod(&json!({ "ephemeralContainerStatuses": [status(added, &json!({ "running": {} }))] }));
        pod.spec.get_or_insert_default().ephemeral_containers =
            serde_json::from_value(json!([{ "name": added }])).unwrap();
        let moments = Scene { session: None, pod: Some(pod) }.moments();
        assert_eq!(
            moments[1..],
            ["container deliver-workflow-2 is added to the running pod", "deliver-workflow-2 fetches"]
        );
    }

    #[test]
    fn describes_nothing_without_a_session() {
        assert!(Scene::default().moments().is_empty());
        assert!(!Scene::default().runs());
    }
}
