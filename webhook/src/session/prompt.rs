//! Predicts whether a session's next run executes its initial prompt.
//!
//! The operator sets `IS_RESUME` on every pod of a session that has a `startTime`, and the runner skips
//! the prompt on a resume, even if no runner ever ran because pod creation was denied or the workflow
//! could not be fetched. `RunnerStarted` is absent until a runner runs, with one exception: a stop in
//! phase Pending or Creating writes it as False.

use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_contract::names::FORCE_PROMPT_ANNOTATION;

use super::{AgenticSession, POD_SCHEDULED, RUNNER_STARTED};

/// Returns whether it is certain that no runner of this session ever ran.
///
/// Without `RunnerStarted` it is. With `RunnerStarted=False` it is if the spec was never changed
/// (generation 1, so the session has always asked for its workflow) and nothing reports a pod: operator
/// or injector write `WorkflowReconciled` and `reconciledWorkflow` for every pod with a workflow.
#[must_use]
pub fn never_ran(session: &AgenticSession) -> bool {
    let Some(started) = session.condition(RUNNER_STARTED) else { return true };
    let unchanged_spec = session.metadata.generation == Some(1) && session.workflow().is_some();
    let no_pod_reported =
        [WORKFLOW_RECONCILED, POD_SCHEDULED].iter().all(|of| session.condition(of).is_none())
            && session.status.as_ref().is_none_or(|status| status.reconciled_workflow.is_none());
    started.status == "False" && unchanged_spec && no_pod_reported
}

/// Returns whether the next run skips the initial prompt although the last one did not get its workflow.
///
/// Admission leaves `IS_RESUME` in place then, and the status controller publishes an Event that names
/// [`FORCE_PROMPT_ANNOTATION`].
#[must_use]
pub fn prompt_will_be_skipped(session: &AgenticSession) -> bool {
    let is = |type_: &str, status: &str| session.condition(type_).is_some_and(|found| found.status == status);
    let forced = session.metadata.annotations.as_ref().and_then(|all| all.get(FORCE_PROMPT_ANNOTATION));
    is(RUNNER_STARTED, "False")
        && !is(WORKFLOW_RECONCILED, "True")
        && !never_ran(session)
        && forced.is_none_or(|value| value != "true")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(generation: i64, conditions: &[(&str, &str)]) -> AgenticSession {
        let conditions: Vec<Value> =
            conditions.iter().map(|(type_, status)| json!({"type": type_, "status": status})).collect();
        serde_json::from_value(json!({
            "apiVersion": "vteam.ambient-code/v1alpha1",
            "kind": "AgenticSession",
            "metadata": {"name": "s", "generation": generation},
            "spec": {"activeWorkflow": {"gitUrl": "https://h/o/r"}},
            "status": {"startTime": "2026-01-02T03:04:05Z", "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn decides_by_the_conditions_alone() {
        let stopped = (RUNNER_STARTED, "False");
        for (generation, conditions, ran_never, skipped) in [
            (1, &[][..], true, false),
            (7, &[], true, false),
            // Denied in Pending, then stopped: no pod was ever created.
            (1, &[stopped], true, false),
            (1, &[stopped, ("PodCreated", "False")], true, false),
            // The workflow may have been set after a run without one.
            (2, &[stopped], false, true),
            (1, &[stopped, (POD_SCHEDULED, "True")], false, true),
            (1, &[stopped, (WORKFLOW_RECONCILED, "False")], false, true),
            (1, &[stopped, (WORKFLOW_RECONCILED, "Unknown")], false, true),
            // The last run had its workflow: a resume as any other.
            (1, &[stopped, (WORKFLOW_RECONCILED, "True")], false, false),
            (1, &[(RUNNER_STARTED, "True")], false, false),
            (1, &[(RUNNER_STARTED, "Unknown")], false, false),
        ] {
            let session = session(generation, conditions);
            let decided = (never_ran(&session), prompt_will_be_skipped(&session));
            assert_eq!(decided, (ran_never, skipped), "generation {generation}, {conditions:?}");
        }
    }

    #[test]
    fn recorded_source_of_an_earlier_pod_is_evidence_of_a_run() {
        let mut session = session(1, &[(RUNNER_STARTED, "False")]);
        session.status.as_mut().unwrap().reconciled_workflow =
            Some(super::super::ReconciledWorkflow::default());
        assert!(!never_ran(&session) && prompt_will_be_skipped(&session));
    }

    #[test]
    fn forced_prompt_is_not_skipped() {
        let mut session = session(2, &[(RUNNER_STARTED, "False")]);
        let annotations = [(FORCE_PROMPT_ANNOTATION.to_owned(), "true".to_owned())];
        session.metadata.annotations = Some(annotations.into());
        assert!(!prompt_will_be_skipped(&session));
    }
}
