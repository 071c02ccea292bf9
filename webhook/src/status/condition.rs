//! Session and pod in, what to write out. This is the whole of the controller's judgement:
//! a function of what is there, without I/O or clock, and without memory of its own.
//!
//! ```text
//! session, pod ──may anything be said at all?──> verdict ──does the session say so?──> Change
//! ```
//!
//! Whose condition is it? The operator writes the same type: `False/UpdateFailed` and, when its
//! POST was answered, `True/Reconciled` (platform.md 1, 2). A condition is *ours* if its reason is
//! one of the contract's; `Reconciled` is ours only with the message that we give it, which starts
//! with the commit that was delivered. Everything else is *theirs*.
//!
//! Because a change is only ever made where the session says something else than the verdict, and
//! the session then says the verdict, each further write takes a change by somebody else.

use jiff::{SignedDuration, Timestamp};
use workflow_contract::condition::{WORKFLOW_RECONCILED, reason};
use workflow_contract::{Exit, reference};

use super::outcome::{self, Outcome, PodFacts, Presence};
use super::verdict::{self, PLATFORM_UPDATED, Progress, Verdict};
use crate::session::{ActiveWorkflow, AgenticSession, Condition, ReconciledWorkflow, SessionStatus};

/// How far the clocks of the operator (`startTime`) and the API server (a pod's creation) may be
/// apart before a pod that is gone is taken for one of an earlier run.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How long after an outcome its Event may still be missing because the one that wrote it ended in
/// between: a leader's term, the wait for its Lease and a restart. API servers keep Events for an
/// hour by default, so within this time one that was told is still there, and is not told twice.
const RECENT: SignedDuration = SignedDuration::from_mins(1);

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The condition, whole.
    pub condition: Condition,
    /// `reconciledWorkflow`, unless that is left alone.
    pub workflow: Option<ReconciledWorkflow>,
    /// Reason of the Event that tells of it, where one does.
    pub event: Option<&'static str>,
}

/// What there is to be written to the session, if anything. `pod` is the last that is known of the
/// session's own pod, `registered` the creation time of the webhook's registration.
#[must_use]
pub fn decide(
    session: &AgenticSession,
    pod: Option<&PodFacts>,
    registered: Option<Timestamp>,
    now: Timestamp,
) -> Option<Change> {
    let status = session.status.as_ref()?;
    let start = status.start_time.filter(|_| is_past_pending(status))?;
    let pod = pod.filter(|pod| pod.presence == Presence::Exists || is_of_run(pod, start));
    if session.opted_out() || is_history(pod, start, registered?) {
        return None;
    }
    let said = Said { condition: session.condition(WORKFLOW_RECONCILED), status, start };
    match session.workflow() {
        None if said.ours().is_some_and(|ours| !has_reason(ours, reason::NOT_CONFIGURED)) => {
            let verdict = verdict::not_configured(session.metadata.generation);
            said.change(&verdict, None, now)
        }
        None => None,
        Some(workflow) => {
            let verdict = match pod.filter(|pod| speaks(pod)) {
                Some(pod) => verdict::of_pod(pod, workflow, said.was_updated(pod, session)),
                None => said.without_pod(workflow, session)?,
            };
            said.change(&verdict, Some(workflow), now)
        }
    }
}

/// Whether the operator has made its first writes of this run; one of ours before would make it
/// skip them, or lose them (platform.md 4, 5).
fn is_past_pending(status: &SessionStatus) -> bool {
    !matches!(status.phase.as_deref(), None | Some("" | "Pending"))
}

/// Whether the run began before the webhook was registered. All of these times are whole seconds:
/// within the same one, only what was injected is known to have come after.
fn is_history(pod: Option<&PodFacts>, start: Timestamp, registered: Timestamp) -> bool {
    let began = pod.map_or(start, |pod| start.min(pod.created));
    let injected = pod.is_some_and(|pod| pod.stamp.is_some());
    began < registered || (began == registered && !injected)
}

fn is_of_run(pod: &PodFacts, start: Timestamp) -> bool {
    pod.created.saturating_add(CLOCK_SKEW).is_ok_and(|created| created >= start)
}

/// Whether what is known of the run's pod is complete.
fn speaks(pod: &PodFacts) -> bool {
    pod.presence != Presence::Vanished || pod.outcome != Outcome::Fetching
}

/// Whether what is known of the session's pod can't be behind what the session says of its run: the
/// pod of the run before may be gone while the watch has yet to show the next.
#[must_use]
pub fn is_last_word(pod: &PodFacts, session: &AgenticSession) -> bool {
    let start = session.status.as_ref().and_then(|status| status.start_time);
    match pod.presence {
        Presence::Exists => true,
        Presence::Deleted => start.is_some_and(|start| pod.created >= start),
        Presence::Vanished => false,
    }
}

/// Reason of the Event for the condition that stands, where that is ours and so recent that
/// whoever wrote it may not have come to tell of it.
#[must_use]
pub fn recent_news(session: &AgenticSession, now: Timestamp) -> Option<&'static str> {
    let condition = session.condition(WORKFLOW_RECONCILED).filter(|condition| is_ours(condition))?;
    let status = session.status.as_ref().filter(|_| !session.opted_out())?;
    let applied = status.reconciled_workflow.as_ref().and_then(|recorded| recorded.applied_at);
    let since = condition.last_transition_time.max(applied)?;
    let of_this_run = status.start_time.is_some_and(|start| start <= since);
    let reason = condition.reason.as_deref().unwrap_or_default();
    verdict::event(&condition.status, reason).filter(|_| of_this_run && now.duration_since(since) <= RECENT)
}

/// Whether a condition of the type is one that this controller wrote.
#[must_use]
pub fn is_ours(condition: &Condition) -> bool {
    let message = condition.message.as_deref().unwrap_or_default();
    match condition.reason.as_deref().unwrap_or_default() {
        reason::NOT_CONFIGURED
        | reason::FETCHING
        | reason::OUT_OF_MEMORY
        | reason::IMAGE_PULL_FAILED
        | reason::CONTAINER_FAILED
        | reason::FETCH_FAILED
        | reason::INTERRUPTED
        | reason::NOT_INJECTED
        | reason::RESTART_REQUIRED
        | reason::OUTCOME_UNKNOWN => true,
        other => match Exit::from_reason(other) {
            Some(Exit::Reconciled) => names_a_commit(message),
            exit => exit.is_some(),
        },
    }
}

fn names_a_commit(message: &str) -> bool {
    let commit = message.strip_prefix("delivered ").and_then(|rest| rest.split(' ').next());
    commit.is_some_and(|commit| commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn has_reason(condition: &Condition, reason: &str) -> bool {
    condition.reason.as_deref() == Some(reason)
}

/// What the session says already.
struct Said<'a> {
    condition: Option<&'a Condition>,
    status: &'a SessionStatus,
    /// Start of the run.
    start: Timestamp,
}

impl<'a> Said<'a> {
    fn ours(&self) -> Option<&'a Condition> {
        self.condition.filter(|condition| is_ours(condition))
    }

    fn recorded(&self) -> Option<&'a ReconciledWorkflow> {
        self.status.reconciled_workflow.as_ref()
    }

    /// The time of the outcome that the session records for this run.
    fn applied_at(&self) -> Option<Timestamp> {
        self.recorded()?.applied_at.filter(|applied| *applied >= self.start)
    }

    /// Whether the operator had the pod's runner replace the workflow: after a spec change it POSTs
    /// (platform.md 12), and then writes the condition for a later generation than the stamp's.
    fn was_updated(&self, pod: &PodFacts, session: &AgenticSession) -> bool {
        let (Some(condition), Some(stamp)) = (self.condition, &pod.stamp) else { return false };
        let since = condition.last_transition_time.is_some_and(|time| time >= pod.created);
        if is_ours(condition) {
            let message = condition.message.as_deref().unwrap_or_default();
            since && has_reason(condition, reason::RESTART_REQUIRED) && message.contains(PLATFORM_UPDATED)
        } else {
            match condition.observed_generation {
                Some(observed) => observed > stamp.generation,
                None => since && session.metadata.generation > Some(stamp.generation),
            }
        }
    }

    /// What can still be said where no pod speaks; nothing where what is said stands.
    fn without_pod(&self, workflow: &ActiveWorkflow, session: &AgenticSession) -> Option<Verdict> {
        let wanted = workflow.source();
        let ours = self.ours();
        let reason = ours.and_then(|ours| ours.reason.as_deref()).unwrap_or_default();
        match reason {
            "" | reason::FETCHING | reason::OUTCOME_UNKNOWN => {}
            reason::NOT_CONFIGURED => return Some(verdict::restart_required(None, &wanted, false)),
            reason::NOT_INJECTED => {
                let since = ours.and_then(|ours| ours.last_transition_time);
                if since.is_some_and(|since| since >= self.start) {
                    return None;
                }
            }
            reason => {
                if self.applied_at().is_some() {
                    let delivered = self.recorded()?.source();
                    let changed = reason == Exit::Reconciled.reason() && delivered != wanted;
                    return changed.then(|| Verdict {
                        generation: ours.and_then(|ours| ours.observed_generation),
                        ..verdict::restart_required(Some(&delivered), &wanted, false)
                    });
                }
            }
        }
        Some(self.recovered(workflow, session).unwrap_or_else(verdict::outcome_unknown))
    }

    /// The operator's own note of the failure.
    fn recovered(&self, workflow: &ActiveWorkflow, session: &AgenticSession) -> Option<Verdict> {
        let ready = session.condition("Ready").filter(|_| self.status.phase.as_deref() == Some("Failed"))?;
        let note = outcome::read_ready_message(ready.message.as_deref()?)?;
        // The note names no generation: it is the present one's if that asks for what was tried.
        let current = note.source.is_none_or(|tried| tried == workflow.source());
        let generation = session.metadata.generation.filter(|_| current);
        Some(Verdict { generation, ..verdict::of_failure(&note.failure) })
    }

    /// The verdict as a change, unless the session says it already.
    fn change(&self, verdict: &Verdict, asked: Option<&ActiveWorkflow>, now: Timestamp) -> Option<Change> {
        let condition = self.condition_for(verdict, now);
        let stands = self.condition.is_some_and(|old| {
            (&old.status, &old.reason, &old.message, old.observed_generation)
                == (&condition.status, &condition.reason, &condition.message, condition.observed_generation)
        });
        let workflow = asked.zip(verdict.progress).map(|(asked, progress)| {
            let applied_at = match progress {
                Progress::Cloning => None,
                _ if stands && self.applied_at().is_some() => self.applied_at(),
                // Not before its own run began, whatever the node's clock says.
                _ => Some(verdict.ended.unwrap_or(now).max(self.start)),
            };
            ReconciledWorkflow {
                git_url: asked.git_url.clone(),
                branch: reference::or_default(asked.branch.as_deref().unwrap_or_default()).to_owned(),
                path: asked.path.clone(),
                status: Some(progress.as_str().to_owned()),
                applied_at,
            }
        });
        let recorded = workflow.as_ref().is_none_or(|workflow| self.recorded() == Some(workflow));
        if stands && recorded {
            return None;
        }
        let told = stands && self.applied_at().is_some();
        Some(Change { condition, workflow, event: verdict.event().filter(|_| !told) })
    }

    fn condition_for(&self, verdict: &Verdict, now: Timestamp) -> Condition {
        let status = verdict.truth.as_str();
        let same = self.condition.filter(|old| old.status == status);
        Condition {
            type_: WORKFLOW_RECONCILED.to_owned(),
            status: status.to_owned(),
            reason: Some(verdict.reason.to_owned()),
            message: Some(verdict.message.clone()),
            last_transition_time: same.and_then(|old| old.last_transition_time).or(Some(now)),
            observed_generation: verdict.generation,
        }
    }
}

#[cfg(test)]
mod tests;
