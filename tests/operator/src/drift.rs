//! Decides whether the operator POSTs the workflow to the runner: pure, one rule for each revision.

use crate::session::SessionView;
use crate::settings::Mode;
use crate::status::UPDATE_FAILED;

/// Reports whether the operator in this mode would POST now.
///
/// `generation` is the session's `metadata.generation`; `running` is false before the pod is created.
pub(crate) fn would_post(mode: Mode, running: bool, generation: i64, session: &impl SessionView) -> bool {
    let Some(wanted) = session.workflow() else { return false };
    let delivered = session.reconciled_workflow().is_some_and(|delivered| {
        delivered.git_url == wanted.git_url
            && delivered.branch == wanted.branch()
            && delivered.path == wanted.path
    });
    let condition = session.workflow_reconciled();
    match mode {
        Mode::Plain => false,
        // In Pending each generation gets one attempt, unless the condition is True. In Running only
        // `reconciledWorkflow` counts: the generation of a failed POST is not recorded as observed.
        Mode::PostEarly => {
            let reconciled = condition.is_some_and(|condition| condition.status == "True");
            session.observed_generation() != Some(generation) && !(delivered && (running || reconciled))
        }
        // Its own failures are repeated; other writers' reasons for the same source are left alone.
        Mode::PostRunning => {
            running
                && (!delivered
                    || condition.is_some_and(|condition| {
                        condition.status == "False" && condition.reason == UPDATE_FAILED
                    }))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GENERATION: i64 = 2;

    fn session(delivered: Option<&str>, condition: Option<(&str, &str)>, observed: i64) -> Value {
        let mut status = json!({ "observedGeneration": observed, "conditions": [] });
        if let Some(branch) = delivered {
            status["reconciledWorkflow"] = json!({ "gitUrl": "https://h/r", "branch": branch, "path": "" });
        }
        if let Some((value, reason)) = condition {
            status["conditions"] =
                json!([{ "type": "WorkflowReconciled", "status": value, "reason": reason }]);
        }
        json!({ "spec": { "activeWorkflow": { "gitUrl": "https://h/r" } }, "status": status })
    }

    #[test]
    fn posts_on_drift() {
        let (same, other) = (Some("main"), Some("dev"));
        let reconciled = Some(("True", "Reconciled"));
        let failed = Some(("False", "UpdateFailed"));
        let theirs = Some(("False", "RefNotFound"));
        // (delivered, condition, observed generation) -> post-early in Pending and Running, post-running
        let table = [
            (None, None, 1, [true, true, true]),
            (None, None, 2, [false, false, true]),
            (None, failed, 2, [false, false, true]),
            (None, reconciled, 1, [true, true, true]),
            (same, reconciled, 1, [false, false, false]),
            (same, failed, 1, [true, false, true]),
            (same, failed, 2, [false, false, true]),
            (same, theirs, 1, [true, false, false]),
            (same, Some(("Unknown", "Fetching")), 2, [false, false, false]),
            (same, None, 2, [false, false, false]),
            (other, reconciled, 1, [true, true, true]),
            (other, reconciled, 2, [false, false, true]),
        ];
        for (delivered, condition, observed, expected) in table {
            let session = session(delivered, condition, observed);
            let posts = [(Mode::PostEarly, false), (Mode::PostEarly, true), (Mode::PostRunning, true)]
                .map(|(mode, running)| would_post(mode, running, GENERATION, &session));
            assert_eq!(posts, expected, "{session}");
            assert!(!would_post(Mode::Plain, true, GENERATION, &session));
        }
        assert!(!would_post(Mode::PostRunning, true, GENERATION, &json!({ "spec": {} })));
    }
}
