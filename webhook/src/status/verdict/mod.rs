//! Outcome of a pod and workflow of its session in, content of the condition out: the rows of the
//! contract's table, each with the message for people.

mod live;
mod types;

use workflow_contract::condition::reason;
use workflow_contract::names::{INIT_CONTAINER, WORKFLOWS_ROOT};
use workflow_contract::{Exit, RepoUrl, Source, Stamp};

use super::outcome::{ContainerFailure, DeliveryAttempt, Outcome, Presence};
use crate::session::ActiveWorkflow;
pub use live::{WaitsFor, waiting};
use types::fetching;
pub use types::{ConditionStatus, Progress, Verdict, event};

/// The session asks for no workflow.
#[must_use]
pub fn not_configured(generation: Option<i64>) -> Verdict {
    Verdict {
        status: ConditionStatus::True,
        generation,
        progress: None,
        ..Verdict::new(reason::NOT_CONFIGURED, "the session asks for no workflow".to_owned())
    }
}

/// Outcome of an attempt to deliver the workflow that the session asks for. `previous` was delivered before.
#[must_use]
pub fn of_attempt(
    attempt: &DeliveryAttempt<'_>,
    presence: Presence,
    workflow: &ActiveWorkflow,
    previous: Option<&Source>,
) -> Verdict {
    let (stamp, container) = (attempt.stamp, attempt.container());
    let verdict = match attempt.outcome {
        Outcome::NotInjected => return not_injected(),
        Outcome::Fetching if presence == Presence::Deleted => interrupted("it was deleted"),
        Outcome::Fetching => fetching(&container, &stamp.source, ""),
        Outcome::Undelivered(failure) => of_failure(failure, &container),
        Outcome::Delivered { commit, signer } => {
            let when = if attempt.live.is_some() { " in the running session" } else { "" };
            delivered(commit, signer.as_deref(), stamp, workflow, when)
        }
    };
    match attempt.live {
        Some(live) => live::reword(verdict, attempt.outcome, live.has_credentials, previous).about(stamp),
        None => verdict.about(stamp),
    }
}

/// The workflow that the session asks for was delivered at this commit; `when` follows the directory.
fn delivered(
    commit: &str,
    signer: Option<&str>,
    stamp: &Stamp,
    workflow: &ActiveWorkflow,
    when: &str,
) -> Verdict {
    let directory = RepoUrl::parse(&workflow.git_url)
        .map_or_else(|_| WORKFLOWS_ROOT.to_owned(), |url| format!("{WORKFLOWS_ROOT}/{}", url.name()));
    let branch = workflow_contract::text::sanitize(&stamp.source.branch);
    let by = signer.map(|signer| format!(", signed by {signer}")).unwrap_or_default();
    let message = format!("delivered {commit} ({branch}) to {directory}{when}{by}");
    Verdict {
        status: ConditionStatus::True,
        progress: Some(Progress::Active),
        ..Verdict::new(Exit::Reconciled.reason(), message)
    }
}

/// The end of the run's init container was not observed.
#[must_use]
pub fn outcome_unknown() -> Verdict {
    let message = "the outcome of this run's delivery was not observed; \
                   start the session again to have the workflow delivered";
    Verdict {
        status: ConditionStatus::Unknown,
        progress: None,
        ..Verdict::new(reason::OUTCOME_UNKNOWN, message.to_owned())
    }
}

/// The running pod does not have, or can't be trusted to have, the workflow that the session asks for.
/// `updated_by_platform`: the platform had the runner replace the directory. `obstacle`: why the workflow is not
/// delivered into the running session, where that is possible in general.
#[must_use]
pub fn restart_required(
    delivered: Option<&Source>,
    wanted: &Source,
    updated_by_platform: bool,
    obstacle: Option<&str>,
) -> Verdict {
    let state = match delivered {
        Some(delivered) if delivered == wanted => {
            format!("{wanted} was delivered, but the session asked for another workflow since then")
        }
        Some(delivered) => format!("{delivered} was delivered, but {wanted} is wanted now"),
        None => format!("no workflow was delivered, but {wanted} is wanted now"),
    };
    let note = if updated_by_platform {
        " (the platform has updated the running session itself, which is not verified)"
    } else {
        ""
    };
    let obstacle = obstacle.map(|why| format!("; {why}")).unwrap_or_default();
    let message = format!("{state}{note}{obstacle}; restart the session to have it delivered");
    Verdict::new(reason::RESTART_REQUIRED, message)
}

/// The session asked for a workflow when the pod was created, and the pod has no init container.
#[must_use]
pub fn not_injected() -> Verdict {
    let message = format!(
        "the session's pod was created without the init container {INIT_CONTAINER}: ask an admin to run \
         `workflow-injector check`, then restart the session to have it delivered"
    );
    Verdict { progress: None, ..Verdict::new(reason::NOT_INJECTED, message) }
}

/// A delivery by this container that failed; its generation is not known here.
#[must_use]
pub fn of_failure(failure: &ContainerFailure, container: &str) -> Verdict {
    match failure {
        ContainerFailure::Exit { exit, message } if message.is_empty() => {
            Verdict::new(exit.reason(), left_no_message(container, i32::from(exit.code())))
        }
        ContainerFailure::Exit { exit, message } => Verdict::new(exit.reason(), message.clone()),
        ContainerFailure::OtherExit { code, message } if message.is_empty() => {
            Verdict::new(reason::FETCH_FAILED, left_no_message(container, *code))
        }
        ContainerFailure::OtherExit { code, message } => {
            Verdict::new(reason::FETCH_FAILED, format!("{container} ended with exit code {code}: {message}"))
        }
        ContainerFailure::Unconfirmed { why } => Verdict::new(
            reason::FETCH_FAILED,
            format!("{container} ended with exit code 0, but {why}; the delivery could not be verified"),
        ),
        ContainerFailure::OutOfMemory => Verdict::new(
            reason::OUT_OF_MEMORY,
            format!(
                "{container} ran out of memory; raise `resources` in the injector's configuration, \
                 or fetch a smaller repository or directory"
            ),
        ),
        ContainerFailure::NoImage { image } => Verdict::new(
            reason::IMAGE_PULL_FAILED,
            format!(
                "the image `{image}` of {container} can't be pulled; check its name in the injector's \
                 configuration and that the nodes may pull it"
            ),
        ),
        ContainerFailure::NoContainer { why } => Verdict::new(
            reason::CONTAINER_FAILED,
            format!("{container} could not be started: {why}; see the Events of the session's pod"),
        ),
        ContainerFailure::Interrupted { why } => interrupted(why),
    }
}

fn interrupted(why: &str) -> Verdict {
    Verdict::new(
        reason::INTERRUPTED,
        format!("the session's pod ended before the workflow was on disk: {why}; restart the session"),
    )
}

fn left_no_message(container: &str, code: i32) -> String {
    format!("{container} ended with exit code {code} and left no message; see its log")
}
