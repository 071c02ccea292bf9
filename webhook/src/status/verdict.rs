//! What is to be said of an outcome: the rows of the contract's table, each with the message that
//! a person reads. Whether anything is said at all, and what is already said, is `condition`'s.

use jiff::Timestamp;
use workflow_contract::condition::{event, reason};
use workflow_contract::names::{INIT_CONTAINER, WORKFLOWS_ROOT};
use workflow_contract::{Exit, RepoUrl, Source, Stamp};

use super::outcome::{Failure, Outcome, PodFacts, Presence};
use crate::session::ActiveWorkflow;

/// In the message of a `RestartRequired` that no change of the spec can take back: the runner was
/// told to replace what had been delivered. The message is where this is remembered.
pub const PLATFORM_UPDATED: &str = "the platform has updated the running session by itself";

/// `status` of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// The workflow is on disk, or none is asked for.
    True,
    /// It is not.
    False,
    /// Not known (yet).
    Unknown,
}

/// `status` of `reconciledWorkflow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// No outcome yet.
    Cloning,
    /// Delivered.
    Active,
    /// Not delivered.
    Failed,
}

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The condition's status.
    pub truth: Truth,
    /// The condition's reason.
    pub reason: &'static str,
    /// The condition's message.
    pub message: String,
    /// Generation of the session whose source was delivered or tried, where one was.
    pub generation: Option<i64>,
    /// For `reconciledWorkflow`; nothing where that is left alone.
    pub progress: Option<Progress>,
    /// When it came to this, where somebody noted it.
    pub ended: Option<Timestamp>,
}

impl Truth {
    /// As the condition spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Progress {
    /// As `reconciledWorkflow` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloning => "Cloning",
            Self::Active => "Active",
            Self::Failed => "Failed",
        }
    }
}

impl Verdict {
    fn failed(reason: &'static str, message: String) -> Self {
        Self {
            truth: Truth::False,
            reason,
            message,
            generation: None,
            progress: Some(Progress::Failed),
            ended: None,
        }
    }

    /// The Event that tells of it.
    #[must_use]
    pub fn event(&self) -> Option<&'static str> {
        event(self.truth.as_str(), self.reason)
    }
}

/// The Event that tells of a condition of ours with this status and reason.
#[must_use]
pub fn event(status: &str, reason: &str) -> Option<&'static str> {
    match (status, reason) {
        ("True", reason::NOT_CONFIGURED) => None,
        ("True", _) => Some(event::DELIVERED),
        ("False", reason::NOT_INJECTED) => Some(event::NOT_INJECTED),
        ("False", reason::RESTART_REQUIRED) => Some(event::RESTART_REQUIRED),
        ("False", _) => Some(event::FAILED),
        _ => None,
    }
}

/// The session asks for no workflow.
#[must_use]
pub fn not_configured(generation: Option<i64>) -> Verdict {
    Verdict {
        truth: Truth::True,
        reason: reason::NOT_CONFIGURED,
        message: "the session asks for no workflow".to_owned(),
        generation,
        progress: None,
        ended: None,
    }
}

/// What the session's pod says. `updated` tells whether the platform had its runner replace the
/// workflow after it was delivered.
#[must_use]
pub fn of_pod(pod: &PodFacts, workflow: &ActiveWorkflow, updated: bool) -> Verdict {
    let Some(stamp) = &pod.stamp else { return not_injected() };
    let verdict = match &pod.outcome {
        Outcome::NotInjected => not_injected(),
        Outcome::Fetching if pod.presence == Presence::Deleted => interrupted("it was deleted"),
        Outcome::Fetching => fetching(stamp),
        Outcome::Undelivered(failure) => of_failure(failure),
        Outcome::Delivered { commit } if stamp.source == workflow.source() && !updated => {
            delivered(commit, stamp, workflow)
        }
        Outcome::Delivered { .. } => restart_required(Some(&stamp.source), &workflow.source(), updated),
    };
    // Everything about this pod is about the source that it was stamped with.
    let generation = verdict.progress.map(|_| stamp.generation);
    Verdict { generation, ended: pod.ended.filter(|_| verdict.reason != reason::RESTART_REQUIRED), ..verdict }
}

/// The pod is gone and nobody saw its init container end.
#[must_use]
pub fn outcome_unknown() -> Verdict {
    Verdict {
        truth: Truth::Unknown,
        progress: None,
        ..Verdict::failed(
            reason::OUTCOME_UNKNOWN,
            "this run's pod is gone and nobody saw whether the workflow was delivered; \
             restart the session to have it delivered"
                .to_owned(),
        )
    }
}

/// The spec asks for something else than what was delivered (or for something, where nothing was).
#[must_use]
pub fn restart_required(delivered: Option<&Source>, wanted: &Source, updated: bool) -> Verdict {
    let state = match delivered {
        Some(delivered) if delivered == wanted => format!("{wanted} was delivered and then changed"),
        Some(delivered) => format!("{delivered} was delivered, but {wanted} is wanted now"),
        None => format!("no workflow was delivered, but {wanted} is wanted now"),
    };
    let note = if updated { format!(" ({PLATFORM_UPDATED})") } else { String::new() };
    let message = format!("{state}{note}; restart the session to have it delivered");
    Verdict::failed(reason::RESTART_REQUIRED, message)
}

fn delivered(commit: &str, stamp: &Stamp, workflow: &ActiveWorkflow) -> Verdict {
    let directory = RepoUrl::parse(&workflow.git_url)
        .map_or_else(|_| WORKFLOWS_ROOT.to_owned(), |url| format!("{WORKFLOWS_ROOT}/{}", url.name()));
    let branch = workflow_contract::text::sanitize(&stamp.source.branch);
    Verdict {
        truth: Truth::True,
        progress: Some(Progress::Active),
        ..Verdict::failed(Exit::Reconciled.reason(), format!("delivered {commit} ({branch}) to {directory}"))
    }
}

fn fetching(stamp: &Stamp) -> Verdict {
    Verdict {
        truth: Truth::Unknown,
        progress: Some(Progress::Cloning),
        ..Verdict::failed(reason::FETCHING, format!("{INIT_CONTAINER} is to deliver {}", stamp.source))
    }
}

fn not_injected() -> Verdict {
    let message = format!(
        "the session's pod has no init container {INIT_CONTAINER}: the workflow was set after the pod \
         was created, or the pod was created past the injector; restart the session to have it delivered"
    );
    Verdict { progress: None, ..Verdict::failed(reason::NOT_INJECTED, message) }
}

/// Why nothing was delivered. The generation is the caller's to add.
#[must_use]
pub fn of_failure(failure: &Failure) -> Verdict {
    match failure {
        Failure::Exit { exit, message } if message.is_empty() => {
            Verdict::failed(exit.reason(), left_no_message(i32::from(exit.code())))
        }
        Failure::Exit { exit, message } => Verdict::failed(exit.reason(), message.clone()),
        Failure::OtherExit { code, message } if message.is_empty() => {
            Verdict::failed(reason::FETCH_FAILED, left_no_message(*code))
        }
        Failure::OtherExit { code, message } => Verdict::failed(
            reason::FETCH_FAILED,
            format!("{INIT_CONTAINER} ended with exit code {code}: {message}"),
        ),
        Failure::Unconfirmed { why } => Verdict::failed(
            reason::FETCH_FAILED,
            format!("{INIT_CONTAINER} ended with exit code 0, but {why}; nothing vouches for the workflow"),
        ),
        Failure::OutOfMemory => Verdict::failed(
            reason::OUT_OF_MEMORY,
            format!(
                "{INIT_CONTAINER} ran out of memory; raise `resources` in the injector's configuration, \
                 or fetch a smaller repository or directory"
            ),
        ),
        Failure::NoImage { image } => Verdict::failed(
            reason::IMAGE_PULL_FAILED,
            format!(
                "the image `{image}` of {INIT_CONTAINER} can't be pulled; check its name in the injector's \
                 configuration and that the nodes may pull it"
            ),
        ),
        Failure::NoContainer { why } => Verdict::failed(
            reason::CONTAINER_FAILED,
            format!("{INIT_CONTAINER} could not be started: {why}; see the Events of the session's pod"),
        ),
        Failure::Interrupted { why } => interrupted(why),
    }
}

fn interrupted(why: &str) -> Verdict {
    Verdict::failed(
        reason::INTERRUPTED,
        format!("the session's pod ended before the workflow was on disk: {why}; restart the session"),
    )
}

fn left_no_message(code: i32) -> String {
    format!("{INIT_CONTAINER} ended with exit code {code} and left no message; see its log")
}
