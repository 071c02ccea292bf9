//! Deviations of a session from the expected outcome, and the signs of a pod that never ran. Pure.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::Value;
use session_runner::Record;
use workflow_contract::names::{INIT_CONTAINER, RUNNER_CONTAINER};

use crate::session::{Condition, Session, SessionView};

/// Variable of a runner that skips the prompt.
const IS_RESUME: &str = "IS_RESUME";
/// Variable with the prompt.
const PROMPT: &str = "INITIAL_PROMPT";

/// Checks the pod of a session that never ran.
pub(super) fn pod(pod: &Value) -> Vec<String> {
    let container = |list: &str, name: &str| {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .find(|container| container["name"] == name)
            .cloned()
    };
    let runner = container("containers", RUNNER_CONTAINER).unwrap_or_default();
    let has =
        |name: &str| runner["env"].as_array().into_iter().flatten().any(|variable| variable["name"] == name);
    true_ones([
        (container("initContainers", INIT_CONTAINER).is_none(), "the pod has no init-workflow container"),
        (has(IS_RESUME), "the pod's runner would skip the prompt"),
        (!has(PROMPT), "the pod's runner has no prompt"),
    ])
}

/// Checks the runner's record.
pub(super) fn record(record: &Record, has_its_files: bool) -> Vec<String> {
    true_ones([
        (!has_its_files, "the runner did not find its workflow"),
        (record.values.contains_key(IS_RESUME), "the runner skipped the prompt"),
        (!record.values.contains_key(PROMPT), "the runner had no prompt"),
    ])
}

/// Checks a condition that should have this reason.
pub(super) fn condition(condition: &Condition, reason: &str) -> Vec<String> {
    if condition.reason == reason { Vec::new() } else { vec![format!("{condition} instead of {reason}")] }
}

/// Returns the kubelet's message where it rejected the session's pod (`OutOfcpu`, `OutOfmemory`, `OutOfpods`, ...): the
/// operator reports a failed pod none of whose containers failed by the reason of the pod.
pub(super) fn rejected_by_kubelet(session: &Session) -> Option<String> {
    let message = session.condition("Ready")?.message;
    message.starts_with("Pod failed: ").then_some(message)
}

/// Reports whether a pod has neither a node nor an end.
pub(super) fn is_unscheduled(pod: &Pod) -> bool {
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    !has_node && pod.metadata.deletion_timestamp.is_none()
}

/// Returns the scheduler's message where it found no node for the pod.
pub(super) fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let is_it = |condition: &&PodCondition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    };
    conditions.iter().find(is_it)?.message.clone()
}

fn true_ones<const N: usize>(all: [(bool, &str); N]) -> Vec<String> {
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, message)| message.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::SessionBuilder;

    fn mk_pod(init: &str, variables: &[&str]) -> Value {
        let env: Vec<_> = variables.iter().map(|name| json!({ "name": name, "value": "x" })).collect();
        json!({ "spec": {
            "initContainers": [{ "name": "init-hydrate" }, { "name": init }],
            "containers": [{ "name": "ambient-code-runner", "env": env }, { "name": "state-sync" }],
        } })
    }

    #[test]
    fn requires_the_init_container_and_the_prompt_of_a_pod() {
        let problems = |init, variables: &[&str]| pod(&mk_pod(init, variables)).len();
        assert_eq!(problems("init-workflow", &["INITIAL_PROMPT"]), 0);
        assert_eq!(problems("other", &["INITIAL_PROMPT"]), 1);
        assert_eq!(problems("init-workflow", &["INITIAL_PROMPT", "IS_RESUME"]), 1);
        assert_eq!(problems("other", &["IS_RESUME"]), 3);
        assert_eq!(pod(&json!({})).len(), 2);
    }

    #[test]
    fn requires_the_files_and_the_prompt_of_a_runner() {
        let of = |values: Value| -> Record {
            serde_json::from_value(json!({
                "startedAtMs": 0, "files": null, "error": null, "variables": [], "values": values,
            }))
            .unwrap()
        };
        assert_eq!(record(&of(json!({ "INITIAL_PROMPT": "x" })), true).len(), 0);
        assert_eq!(record(&of(json!({ "INITIAL_PROMPT": "x", "IS_RESUME": "true" })), false).len(), 2);
    }

    #[test]
    fn accepts_only_the_expected_reason() {
        let reconciled = Condition { reason: "Reconciled".to_owned(), ..Condition::default() };
        assert_eq!(condition(&reconciled, "Reconciled").len(), 0);
        assert_eq!(condition(&reconciled, "RefNotFound").len(), 1);
    }

    #[test]
    fn distinguishes_a_rejected_pod_from_a_failed_container() {
        let session = |message: &str| {
            let mut session = SessionBuilder::new("s").build();
            session.data["status"]["conditions"] =
                json!([{ "type": "Ready", "status": "False", "reason": "PodFailed", "message": message }]);
            session
        };
        for reason in ["OutOfcpu", "OutOfmemory", "OutOfpods"] {
            let message = format!("Pod failed: {reason}: Pod was rejected: Node didn't have enough resource");
            assert_eq!(rejected_by_kubelet(&session(&message)), Some(message));
        }
        let failed = "Init container init-workflow failed (exit 22): no branch - Error";
        assert_eq!(rejected_by_kubelet(&session(failed)), None);
        assert_eq!(rejected_by_kubelet(&SessionBuilder::new("s").build()), None);
    }

    #[test]
    fn reads_the_schedulers_message() {
        let pod = |reason: &str| -> Pod {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": reason, "message": "Insufficient cpu",
            });
            serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": [condition] } }))
                .unwrap()
        };
        assert_eq!(unschedulable(&pod("Unschedulable")).as_deref(), Some("Insufficient cpu"));
        assert_eq!(unschedulable(&pod("SchedulingGated")), None);
    }
}
