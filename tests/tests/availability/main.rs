//! Admission stays available, and no outcome is lost, while the injector is disrupted, replaced or reconfigured.
//!
//! Each test needs the injector for itself: they take turns, and no other test program may use it at the same time.

mod chaos;
mod disruptions;
mod host_network;
mod missing_image;
mod signed;
mod upgrade;

use tokio::sync::Mutex;
use workflow_tests::session::{Phase, Session, SessionView};

/// Held by a test while it uses the installed injector.
static TURN: Mutex<()> = Mutex::const_new(());

fn runs_with_its_workflow(session: &Session) -> bool {
    let reconciled = session.workflow_reconciled().is_some_and(|condition| condition.status == "True");
    session.phase() == Some(Phase::Running) && reconciled
}
