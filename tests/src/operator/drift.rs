//! Whether the operator sees a reason to POST the workflow to the runner: pure, one rule for each revision.

use crate::session::SessionView;

use super::Mode;
use super::delivery::UPDATE_FAILED;

/// Whether the operator in this mode would POST now. The phase is the caller's business: when a mode looks at all is
/// part of what distinguishes the revisions.
///
/// `generation` is the session's `metadata.generation`.
pub(crate) fn would_post(mode: Mode, generation: i64, session: &impl SessionView) -> bool {
    let Some(wanted) = session.workflow() else { return false };
    let delivered = session.reconciled_workflow().is_some_and(|delivered| {
        delivered.git_url == wanted.git_url
            && delivered.branch == wanted.branch()
            && delivered.path == wanted.path
    });
    let condition = session.workflow_reconciled();
    match mode {
        Mode::Plain => false,
        // Each generation gets one attempt, unless it is known to be delivered.
        Mode::PostEarly => {
            let known = condition.is_some_and(|condition| condition.status == "True");
            session.observed_generation() != Some(generation) && !(delivered && known)
        }
        // Its own failures are repeated; what another writer says of the same source is left alone.
        Mode::PostRunning => {
            !delivered
                || condition
                    .is_some_and(|condition| condition.status == "False" && condition.reason == UPDATE_FAILED)
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
        if let Some(url) = delivered {
            status["reconciledWorkflow"] = json!({ "gitUrl": url, "branch": "main", "path": "" });
        }
        if let Some((value, reason)) = condition {
            status["conditions"] =
                json!([{ "type": "WorkflowReconciled", "status": value, "reason": reason }]);
        }
        json!({ "spec": { "activeWorkflow": { "gitUrl": "https://h/r" } }, "status": status })
    }

    #[test]
    fn posts_when_it_sees_drift() {
        let same = Some("https://h/r");
        let other = Some("https://h/other");
        let reconciled = Some(("True", "Reconciled"));
        let failed = Some(("False", "UpdateFailed"));
        let theirs = Some(("False", "RefNotFound"));
        // (delivered, condition, observed generation) -> (post-early, post-running)
        let table = [
            (None, None, 1, true, true),
            (None, None, 2, false, true),
            (None, failed, 2, false, true),
            (None, reconciled, 1, true, true),
            (None, theirs, 2, false, true),
            (same, reconciled, 1, false, false),
            (same, failed, 1, true, true),
            (same, failed, 2, false, true),
            (same, theirs, 1, true, false),
            (same, Some(("Unknown", "Fetching")), 2, false, false),
            (same, None, 2, false, false),
            (other, reconciled, 1, true, true),
            (other, reconciled, 2, false, true),
        ];
        for (delivered, condition, observed, early, running) in table {
            let session = session(delivered, condition, observed);
            let seen = [Mode::PostEarly, Mode::PostRunning, Mode::Plain]
                .map(|mode| would_post(mode, GENERATION, &session));
            assert_eq!(seen, [early, running, false], "{session}");
        }
    }

    #[test]
    fn never_posts_without_a_workflow() {
        for mode in [Mode::PostEarly, Mode::PostRunning, Mode::Plain] {
            assert!(!would_post(mode, GENERATION, &json!({ "spec": {} })));
        }
    }

    #[test]
    fn path_and_branch_count_as_drift() {
        for (field, value) in [("branch", "dev"), ("path", "a")] {
            let mut session = session(Some("https://h/r"), Some(("True", "Reconciled")), 1);
            session["spec"]["activeWorkflow"][field] = json!(value);
            assert!(would_post(Mode::PostRunning, GENERATION, &session), "{field}");
        }
    }
}
