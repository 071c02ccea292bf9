//! Sessions on a real node with the installed injector: the runner's files at its first instruction, and the session's
//! condition.

mod deleted_pod;
mod failures;
mod modes;
mod not_configured;
mod restarts;
mod source;

use workflow_tests::session::{Phase, Session, SessionView};

fn runs_with_its_workflow(session: &Session) -> bool {
    let reconciled = session.workflow_reconciled().is_some_and(|condition| condition.status == "True");
    session.phase() == Some(Phase::Running) && reconciled
}
