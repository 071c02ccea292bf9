//! What is wrong with a session that should have its workflow and its prompt. Pure.

use serde_json::Value;
use session_runner::Record;
use workflow_contract::names::{INIT_CONTAINER, RUNNER_CONTAINER};

use crate::session::Condition;

/// Set on a runner that is to skip the prompt.
const IS_RESUME: &str = "IS_RESUME";
/// The prompt.
const PROMPT: &str = "INITIAL_PROMPT";

/// Of a pod whose session never ran.
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
    said([
        (container("initContainers", INIT_CONTAINER).is_none(), "the pod has no init container of ours"),
        (has(IS_RESUME), "the pod's runner would skip the prompt"),
        (!has(PROMPT), "the pod's runner has no prompt"),
    ])
}

/// Of what the runner found.
pub(super) fn record(record: &Record, has_its_files: bool) -> Vec<String> {
    said([
        (!has_its_files, "the runner did not find its workflow"),
        (record.values.contains_key(IS_RESUME), "the runner skipped the prompt"),
        (!record.values.contains_key(PROMPT), "the runner had no prompt"),
    ])
}

/// Of a condition that should have this reason.
pub(super) fn condition(condition: &Condition, reason: &str) -> Vec<String> {
    if condition.reason == reason { Vec::new() } else { vec![format!("{condition} instead of {reason}")] }
}

fn said<const N: usize>(all: [(bool, &str); N]) -> Vec<String> {
    all.into_iter().filter(|(wrong, _)| *wrong).map(|(_, words)| words.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mk_pod(init: &str, variables: &[&str]) -> Value {
        let env: Vec<_> = variables.iter().map(|name| json!({ "name": name, "value": "x" })).collect();
        json!({ "spec": {
            "initContainers": [{ "name": "init-hydrate" }, { "name": init }],
            "containers": [{ "name": "ambient-code-runner", "env": env }, { "name": "state-sync" }],
        } })
    }

    #[test]
    fn a_pod_needs_the_init_container_and_the_prompt() {
        let wrong = |init, variables: &[&str]| pod(&mk_pod(init, variables)).len();
        assert_eq!(wrong("init-workflow", &["INITIAL_PROMPT"]), 0);
        assert_eq!(wrong("other", &["INITIAL_PROMPT"]), 1);
        assert_eq!(wrong("init-workflow", &["INITIAL_PROMPT", "IS_RESUME"]), 1);
        assert_eq!(wrong("other", &["IS_RESUME"]), 3);
        assert_eq!(pod(&json!({})).len(), 2);
    }

    #[test]
    fn a_runner_needs_its_files_and_the_prompt() {
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
    fn only_the_right_reason_is_right() {
        let said = Condition { reason: "Reconciled".to_owned(), ..Condition::default() };
        assert_eq!(condition(&said, "Reconciled").len(), 0);
        assert_eq!(condition(&said, "RefNotFound").len(), 1);
    }
}
