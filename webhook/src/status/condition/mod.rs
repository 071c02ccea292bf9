//! Session and pod in, change of the session's status out: pure, without I/O, clock or memory.
//!
//! ```text
//! session, pod ──may anything be written?──> verdict ──does the status differ?──> Change
//! ```
//!
//! A change is only made where the status differs from the verdict, so each further write needs a
//! change by another writer.

mod current;

use jiff::{SignedDuration, Timestamp};
use workflow_contract::condition::{WORKFLOW_RECONCILED, reason};
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::INIT_CONTAINER;
use workflow_contract::{Exit, reference};

use super::live::{self, LiveDelivery, NextDelivery};
use super::outcome::{self, DeliveryAttempt, Outcome, PodFacts, Presence};
use super::verdict::{self, ConditionStatus, Progress, Verdict};
use crate::session::{ActiveWorkflow, AgenticSession, Condition, ReconciledWorkflow, SessionStatus};
use current::applied_at;
pub use current::{CurrentStatus, is_own_reason};

/// Assumed limit on the difference between the operator's clock (`startTime`) and the API server's
/// (a pod's creation): a pod that is gone and older than that belongs to an earlier run.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Age up to which a new leader publishes the Event of a condition that its predecessor wrote: a Lease,
/// the wait for it and a restart. API servers keep Events for an hour by default, so an Event that
/// was published within this time still exists, and creating it again changes nothing.
const RECENT: SignedDuration = SignedDuration::from_mins(1);

/// A change of a session's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The whole condition.
    pub condition: Condition,
    /// `reconciledWorkflow`, unless that is left alone.
    pub workflow: Option<ReconciledWorkflow>,
    /// Reason of the Event that reports it.
    pub event: Option<&'static str>,
}

/// Next action for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write this to its status.
    Write(Box<StatusChange>),
    /// Add an ephemeral container to its pod that delivers the workflow of the present generation.
    Deliver,
}

fn write(change: StatusChange) -> Action {
    Action::Write(Box::new(change))
}

/// Result of comparing pod and session.
enum Comparison {
    Show(Verdict),
    Deliver,
}

/// Returns what has to be done for the session. `pod` is the last known state of the session's own
/// pod, `registered` the creation time of the webhook's registration.
#[must_use]
pub fn decide(
    session: &AgenticSession,
    pod: Option<&PodFacts>,
    registered: Option<Timestamp>,
    mode: &LiveDelivery,
    now: Timestamp,
) -> Option<Action> {
    let status = session.status.as_ref()?;
    let start = status.start_time.filter(|_| is_past_pending(status))?;
    let pod = pod.filter(|pod| pod.presence == Presence::Exists || is_of_run(pod, start));
    if session.opted_out() || began_before(pod, start, registered) {
        return None;
    }
    let current = CurrentStatus { condition: session.condition(WORKFLOW_RECONCILED), status, start };
    let Some(workflow) = session.workflow() else {
        let reason = current.own_reason().filter(|reason| *reason != reason::NOT_CONFIGURED);
        return reason
            .and_then(|_| current.change(&verdict::not_configured(session.metadata.generation), None, now))
            .map(write);
    };
    let verdict = match pod.filter(|pod| is_conclusive(pod)) {
        Some(pod) => match current.with_pod(pod, workflow, session, mode, now) {
            Comparison::Show(verdict) => verdict,
            Comparison::Deliver => return Some(Action::Deliver),
        },
        None => current.without_pod(workflow, session)?,
    };
    current.change(&verdict, Some(workflow), now).map(write)
}

/// Reports whether the operator has made its first writes of this run. A write before `startTime` is set makes
/// it skip its initialisation; one between the pod's creation and phase Creating makes its own write
/// conflict, which it does not repeat.
fn is_past_pending(status: &SessionStatus) -> bool {
    !matches!(status.phase.as_deref(), None | Some("" | "Pending"))
}

fn is_over(status: &SessionStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Stopped" | "Completed" | "Failed"))
}

/// Reports whether the run began before the webhook was registered, and so had to do without it. A stamp
/// proves the contrary, also after the registration was deleted and created again.
fn began_before(pod: Option<&PodFacts>, start: Timestamp, registered: Option<Timestamp>) -> bool {
    if pod.is_some_and(|pod| pod.last_attempt().is_some()) {
        return false;
    }
    // All of these times are whole seconds; the order within one second is not known.
    let began = pod.map_or(start, |pod| start.min(pod.created));
    registered.is_none_or(|registered| began <= registered)
}

fn is_of_run(pod: &PodFacts, start: Timestamp) -> bool {
    pod.created.saturating_add(CLOCK_SKEW).is_ok_and(|created| created >= start)
}

/// Reports whether the outcome of the pod is known, as far as there is one.
fn is_conclusive(pod: &PodFacts) -> bool {
    let is_fetching = pod.last_attempt().is_some_and(|last| *last.outcome == Outcome::Fetching);
    pod.presence != Presence::Vanished || !is_fetching
}

/// Reports whether the cached state of the pod can't be older than the session's run: the pod of the run before
/// may be gone while the watch has yet to deliver the next one.
#[must_use]
pub fn is_up_to_date(pod: &PodFacts, session: &AgenticSession) -> bool {
    let start = session.status.as_ref().and_then(|status| status.start_time);
    match pod.presence {
        Presence::Exists => true,
        Presence::Deleted => start.is_some_and(|start| pod.created >= start),
        Presence::Vanished => false,
    }
}

/// Reports whether the operator has written the outcome of its own POST of the session's present workflow.
#[must_use]
pub fn is_posted(session: &AgenticSession) -> bool {
    let Some(status) = &session.status else { return false };
    let condition = session.condition(WORKFLOW_RECONCILED);
    let current =
        CurrentStatus { condition, status, start: status.start_time.unwrap_or(Timestamp::UNIX_EPOCH) };
    let wanted = session.workflow().map(ActiveWorkflow::source);
    let is_recorded = current.record().is_some_and(|record| Some(record.source()) == wanted);
    // Its other reason is that of a POST that failed.
    condition.is_some()
        && current.own_reason().is_none()
        && (is_recorded || current.reason() != Exit::Reconciled.reason())
}

/// Reason of the Event for a condition of this controller that is so recent that the replica which
/// wrote it may have ended before it published the Event.
#[must_use]
pub fn recent_event(session: &AgenticSession, now: Timestamp) -> Option<&'static str> {
    let status = session.status.as_ref().filter(|_| !session.opted_out())?;
    let condition = session.condition(WORKFLOW_RECONCILED)?;
    let current = CurrentStatus { condition: Some(condition), status, start: status.start_time? };
    let reason = current.own_reason()?;
    let since = condition.last_transition_time.max(current.applied_at())?;
    let is_recent = current.start <= since && now.duration_since(since) <= RECENT;
    verdict::event(&condition.status, reason).filter(|_| is_recent)
}

/// Reports whether the session requested a workflow when the pod was created: the operator then passes its URL
/// to the runner. An author's own variable of that name comes in addition.
fn was_asked_for(pod: &PodFacts, session: &AgenticSession) -> bool {
    let own = session.spec.environment_variables.as_ref();
    let own = own.is_some_and(|names| names.contains(ACTIVE_WORKFLOW_GIT_URL));
    pod.stamp.is_some() || pod.workflow_variables > usize::from(own)
}

fn of_attempt(
    attempt: &DeliveryAttempt<'_>,
    pod: &PodFacts,
    workflow: &ActiveWorkflow,
    own: Timestamp,
) -> Verdict {
    let previous = pod.delivered_before(attempt.stamp.generation).map(|previous| &previous.stamp.source);
    let verdict = verdict::of_attempt(attempt, pod.presence, workflow, previous);
    let is_delivered = verdict.status == ConditionStatus::True;
    Verdict { applied_at: (is_delivered || attempt.ended.is_some()).then_some(own), ..verdict }
}

impl CurrentStatus<'_> {
    fn with_pod(
        &self,
        pod: &PodFacts,
        workflow: &ActiveWorkflow,
        session: &AgenticSession,
        mode: &LiveDelivery,
        now: Timestamp,
    ) -> Comparison {
        let wanted = workflow.source();
        let last = pod.last_attempt();
        let own = applied_at(last.and_then(|last| last.ended), pod, self.start);
        match last {
            Some(last) if last.live.is_none() && !matches!(last.outcome, Outcome::Delivered { .. }) => {
                return Comparison::Show(of_attempt(&last, pod, workflow, own));
            }
            Some(last) if last.stamp.source == wanted => {
                let verdict = of_attempt(&last, pod, workflow, own);
                if self.shows(&verdict) || !self.was_replaced(own, &last, session) {
                    return Comparison::Show(verdict);
                }
            }
            None if was_asked_for(pod, session) => return Comparison::Show(verdict::not_injected()),
            _ => {}
        }
        let generation = session.metadata.generation.unwrap_or_default();
        let obstacle = match live::next_delivery(pod, self.status, generation, mode) {
            NextDelivery::Now => return Comparison::Deliver,
            NextDelivery::Later(waits_for) => {
                return Comparison::Show(verdict::waiting(&wanted, generation, waits_for));
            }
            NextDelivery::Never(obstacle) => obstacle,
        };
        let delivered = pod.delivered_before(i64::MAX).map(|attempt| attempt.stamp);
        let updated = self.updated_by_platform(own, delivered, now);
        Comparison::Show(Verdict {
            generation: delivered.map(|stamp| stamp.generation),
            applied_at: Some(updated.unwrap_or(own)),
            ..verdict::restart_required(
                delivered.map(|stamp| &stamp.source),
                &wanted,
                updated.is_some(),
                obstacle.as_deref(),
            )
        })
    }

    /// Verdict where the pod is gone and its end was not observed; none where the condition stands.
    fn without_pod(&self, workflow: &ActiveWorkflow, session: &AgenticSession) -> Option<Verdict> {
        // Until the run is over the operator goes on with another pod, or waits for one of that name: only an
        // outcome that this controller has announced is reported as lost.
        if !is_over(self.status) && !self.announced() {
            return None;
        }
        let wanted = workflow.source();
        match self.own_reason() {
            None | Some(reason::FETCHING | reason::OUTCOME_UNKNOWN) => {}
            Some(reason::NOT_CONFIGURED) => {
                return Some(verdict::restart_required(None, &wanted, false, None));
            }
            Some(reason::NOT_INJECTED) => {
                if self.condition?.last_transition_time.is_some_and(|since| since >= self.start) {
                    return None;
                }
            }
            Some(reason) => {
                if let Some(record) = self.record() {
                    let delivered = record.source();
                    let changed = reason == Exit::Reconciled.reason() && delivered != wanted;
                    return changed.then(|| Verdict {
                        generation: self.condition.and_then(|own| own.observed_generation),
                        applied_at: record.applied_at,
                        ..verdict::restart_required(Some(&delivered), &wanted, false, None)
                    });
                }
            }
        }
        let created = session.condition("PodCreated").is_none_or(|created| created.status != "False");
        self.recovered(workflow, session).or_else(|| created.then(verdict::outcome_unknown))
    }

    /// Reports whether `Fetching` was written in this run, so that a pod of this run existed.
    fn announced(&self) -> bool {
        let since = self.condition.and_then(|condition| condition.last_transition_time);
        self.own_reason() == Some(reason::FETCHING) && since.is_some_and(|since| since >= self.start)
    }

    /// Verdict from the operator's own note of the failure.
    fn recovered(&self, workflow: &ActiveWorkflow, session: &AgenticSession) -> Option<Verdict> {
        let ready = session.condition("Ready").filter(|_| self.status.phase.as_deref() == Some("Failed"))?;
        let note = outcome::read_ready_message(ready.message.as_deref()?)?;
        // The note names no generation: it is the present one if that asks for what was tried.
        let current = note.source.is_none_or(|tried| tried == workflow.source());
        let generation = session.metadata.generation.filter(|_| current);
        Some(Verdict { generation, ..verdict::of_failure(&note.failure, INIT_CONTAINER) })
    }

    /// The verdict as a change, unless the status shows it already.
    fn change(
        &self,
        verdict: &Verdict,
        requested: Option<&ActiveWorkflow>,
        now: Timestamp,
    ) -> Option<StatusChange> {
        let stands = self.shows(verdict);
        let workflow = requested.zip(verdict.progress).map(|(requested, progress)| {
            let kept = self.applied_at().filter(|_| stands);
            let applied_at = verdict.applied_at.or(kept).unwrap_or(now.max(self.start));
            ReconciledWorkflow {
                git_url: requested.git_url.clone(),
                branch: reference::or_default(requested.branch.as_deref().unwrap_or_default()).to_owned(),
                path: requested.path.clone(),
                status: Some(progress.as_str().to_owned()),
                applied_at: (progress != Progress::Cloning).then_some(applied_at),
            }
        });
        let recorded = workflow.is_none() || self.status.reconciled_workflow == workflow;
        // Worded by an earlier write, about the same wanted source.
        let same_restart = verdict.reason == reason::RESTART_REQUIRED && self.reason() == verdict.reason;
        if recorded && (stands || same_restart) {
            return None;
        }
        let published = stands && self.applied_at().is_some();
        let event = verdict.event().filter(|_| !published);
        Some(StatusChange { condition: self.condition_for(verdict, now), workflow, event })
    }

    fn condition_for(&self, verdict: &Verdict, now: Timestamp) -> Condition {
        let status = verdict.status.as_str();
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
