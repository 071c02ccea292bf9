//! Decides the operator's next step for a session: pure. Each step ends in a state from which the next one follows.

use crate::session::Phase;

use crate::outcome::PodOutcome;

/// The user's `desired-phase` annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desired {
    /// Absent or unknown.
    Nothing,
    Running,
    Stopped,
}

impl Desired {
    pub(crate) fn from_annotation(value: Option<&str>) -> Self {
        match value {
            Some("Running") => Self::Running,
            Some("Stopped") => Self::Stopped,
            _ => Self::Nothing,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing until something changes.
    Wait,
    /// Write the first status, then go on as [`Step::Create`].
    Initialise,
    /// Create Secret, pod and Service, then write Creating.
    Create,
    /// A pod of that name exists already, of whichever session: write Creating.
    Adopt,
    /// The pod is gone, or the user wants another run: write Pending with a new start time.
    BeginRun,
    /// The runner runs: write Running.
    MarkRunning,
    /// POST the workflow if there is drift.
    CheckWorkflow,
    /// Write Completed, delete pod and Service.
    Complete,
    /// Write Failed with this message, delete pod and Service.
    Fail(String),
    /// Write Stopping, delete pod and Service. In Pending, RunnerStarted becomes False too: the next start is a resume.
    Stop { pending: bool },
    /// The pod has gone: write Stopped.
    MarkStopped,
    /// The session has ended and its pod exists: delete it.
    CleanUp,
}

/// The next step for a session in `phase`; `pod` is `None` where there is no pod.
pub(crate) fn decide(phase: Option<Phase>, desired: Desired, pod: Option<PodOutcome>) -> Step {
    use Phase::{Completed, Creating, Failed, Pending, Running, Stopped, Stopping};
    match (phase, pod) {
        // A missing phase is how the operator recognises a new session. Any write to a status without a phase makes the
        // API server default it to Pending, and then there is never a start time.
        (None, _) => Step::Initialise,
        (Some(Pending), _) if desired == Desired::Stopped => Step::Stop { pending: true },
        (Some(Pending), Some(_)) => Step::Adopt,
        // A stop in Creating has no effect until the runner runs.
        (Some(Running), _) if desired == Desired::Stopped => Step::Stop { pending: false },
        (Some(Pending), None) => Step::Create,
        (Some(Creating | Running), None) => Step::BeginRun,
        (Some(Creating), Some(PodOutcome::Running)) => Step::MarkRunning,
        (Some(Running), Some(PodOutcome::Running)) => Step::CheckWorkflow,
        (Some(Creating | Running), Some(PodOutcome::Failed(message))) => Step::Fail(message),
        (Some(Creating | Running), Some(PodOutcome::Completed)) => Step::Complete,
        (Some(Stopping), None) => Step::MarkStopped,
        (Some(Stopped | Completed | Failed), _) if desired == Desired::Running => Step::BeginRun,
        (Some(Stopping | Stopped | Completed | Failed), Some(pod)) if pod != PodOutcome::Terminating => {
            Step::CleanUp
        }
        _ => Step::Wait,
    }
}
