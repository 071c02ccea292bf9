//! What the operator does next with a session: pure. Each step ends in a state from which the next one follows.

use crate::session::Phase;

use super::outcome::PodOutcome;

/// `desired-phase`, as asked for by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desired {
    /// Nothing, or nothing known.
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

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until something changes.
    Wait,
    /// Write the first status, then go on as [`Step::Create`].
    Initialise,
    /// Create Secret, pod and Service, then write Creating.
    Create,
    /// The pod is there already: write Creating.
    Adopt,
    /// The pod is gone, or the user wants another run: write Pending with a new start time.
    BeginRun,
    /// The runner runs: write Running.
    MarkRunning,
    /// See whether the workflow is to be POSTed.
    CheckWorkflow,
    /// Write Completed, delete pod and Service.
    Complete,
    /// Write Failed with this message, delete pod and Service.
    Fail(String),
    /// Write Stopping, delete pod and Service. `before_running` tells whether the runner had not been seen running.
    Stop { before_running: bool },
    /// The pod has gone: write Stopped.
    MarkStopped,
    /// A pod is left of a session that has ended: delete it.
    CleanUp,
}

/// The next step for a session in `phase` whose pod is judged as `pod` (`None`: there is none).
pub(crate) fn decide(phase: Option<Phase>, desired: Desired, pod: Option<PodOutcome>) -> Step {
    use Phase::{Completed, Creating, Failed, Pending, Running, Stopped, Stopping};
    match (phase, pod) {
        // The phase tells whether a session was initialised. It can be lost: any write to a status without a phase
        // makes the API server default it to Pending, and then there is never a start time.
        (None, None) => Step::Initialise,
        (None | Some(Pending), Some(_)) if desired != Desired::Stopped => Step::Adopt,
        (Some(Pending | Creating), _) if desired == Desired::Stopped => Step::Stop { before_running: true },
        (Some(Running), _) if desired == Desired::Stopped => Step::Stop { before_running: false },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_runs_its_course() {
        let failed = || PodOutcome::Failed("it failed".to_owned());
        let course = [
            (None, None, Step::Initialise),
            (Some(Phase::Pending), None, Step::Create),
            (Some(Phase::Pending), Some(PodOutcome::Starting), Step::Adopt),
            (Some(Phase::Creating), Some(PodOutcome::Starting), Step::Wait),
            (Some(Phase::Creating), Some(PodOutcome::Running), Step::MarkRunning),
            (Some(Phase::Creating), Some(failed()), Step::Fail("it failed".to_owned())),
            (Some(Phase::Running), Some(PodOutcome::Running), Step::CheckWorkflow),
            (Some(Phase::Running), Some(PodOutcome::Completed), Step::Complete),
            (Some(Phase::Running), Some(failed()), Step::Fail("it failed".to_owned())),
            (Some(Phase::Running), Some(PodOutcome::Terminating), Step::Wait),
            (Some(Phase::Running), None, Step::BeginRun),
            (Some(Phase::Creating), None, Step::BeginRun),
            (Some(Phase::Failed), None, Step::Wait),
            (Some(Phase::Failed), Some(failed()), Step::CleanUp),
            (Some(Phase::Failed), Some(PodOutcome::Terminating), Step::Wait),
        ];
        for (phase, pod, step) in course {
            assert_eq!(decide(phase, Desired::Nothing, pod.clone()), step, "{phase:?} {pod:?}");
        }
    }

    #[test]
    fn a_user_stops_it() {
        let stop = |phase, pod| decide(Some(phase), Desired::Stopped, pod);
        let running = || Some(PodOutcome::Running);
        assert_eq!(stop(Phase::Pending, None), Step::Stop { before_running: true });
        assert_eq!(stop(Phase::Creating, Some(PodOutcome::Starting)), Step::Stop { before_running: true });
        assert_eq!(stop(Phase::Running, running()), Step::Stop { before_running: false });
        assert_eq!(stop(Phase::Stopping, Some(PodOutcome::Terminating)), Step::Wait);
        assert_eq!(stop(Phase::Stopping, running()), Step::CleanUp);
        assert_eq!(stop(Phase::Stopping, None), Step::MarkStopped);
        assert_eq!(stop(Phase::Stopped, None), Step::Wait);
    }

    #[test]
    fn a_user_runs_it_again() {
        for phase in [Phase::Stopped, Phase::Failed, Phase::Completed] {
            assert_eq!(decide(Some(phase), Desired::Running, None), Step::BeginRun, "{phase:?}");
        }
        let running = decide(Some(Phase::Running), Desired::Running, Some(PodOutcome::Running));
        assert_eq!(running, Step::CheckWorkflow);
    }

    #[test]
    fn an_old_pod_is_taken_for_the_new_one() {
        let old = PodOutcome::Failed("long ago".to_owned());
        assert_eq!(decide(Some(Phase::Pending), Desired::Running, Some(old)), Step::Adopt);
    }
}
