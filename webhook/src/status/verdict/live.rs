//! The rows of deliveries into the running session.

use workflow_contract::names::live_container;
use workflow_contract::{Exit, Source};

use super::types::{Verdict, fetching};
use crate::status::outcome::{ContainerFailure, Outcome};

/// Reason for which a delivery into the running session has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The runner does not run yet.
    Runner,
    /// The delivery of an earlier generation.
    Earlier(i64),
}

/// The delivery of this generation begins later.
#[must_use]
pub fn waiting(wanted: &Source, generation: i64, waits_for: WaitsFor) -> Verdict {
    let when = match waits_for {
        WaitsFor::Runner => " once the runner runs".to_owned(),
        WaitsFor::Earlier(earlier) => format!(" once {} has ended", live_container(earlier)),
    };
    let verdict = fetching(&live_container(generation), wanted, &when);
    Verdict { generation: Some(generation), ..verdict }
}

/// Adds to the verdict of a container what its failure means for a running session. `previous` was delivered before.
pub(super) fn reword(
    verdict: Verdict,
    outcome: &Outcome,
    has_credentials: bool,
    previous: Option<&Source>,
) -> Verdict {
    let message = &verdict.message;
    let previous = match previous {
        Some(previous) => format!("the session goes on with {previous}"),
        None => "the session goes on without a workflow".to_owned(),
    };
    let message = match outcome {
        Outcome::Undelivered(ContainerFailure::Interrupted { .. })
        | Outcome::Delivered { .. }
        | Outcome::Fetching
        | Outcome::NotInjected => return verdict,
        // It has no limit of its own.
        Outcome::Undelivered(ContainerFailure::OutOfMemory) => {
            format!(
                "the node or pod ran out of memory; deliver a smaller repository or directory; {previous}"
            )
        }
        Outcome::Undelivered(failure) if !has_credentials && may_lack_credentials(failure) => {
            format!(
                "{message}; the session's pod was created without the volume of the Secret with git credentials, \
                 which a restart adds; {previous}"
            )
        }
        Outcome::Undelivered(_) => format!("{message}; {previous}"),
    };
    Verdict { message, ..verdict }
}

fn may_lack_credentials(failure: &ContainerFailure) -> bool {
    matches!(
        failure,
        ContainerFailure::Exit {
            exit: Exit::AuthenticationFailed | Exit::RepositoryNotFound | Exit::HostKeyMismatch,
            ..
        }
    )
}
