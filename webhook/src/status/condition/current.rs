//! Author and meaning of the condition that a session has.
//!
//! # Two writers of one condition
//!
//! The operator writes conditions of the same type: `False/UpdateFailed`, `True/NotConfigured` and,
//! after a POST to the runner that was answered with 200, `True/Reconciled`. It edits the condition in
//! place and keeps an `observedGeneration` that it finds, so that field shows nothing about the author.
//! Every reason of the contract but `Reconciled` and `NotConfigured` is written by this controller only.
//! For these two the author follows from `reconciledWorkflow`, which each writes together with a
//! `True/Reconciled`: this controller's `appliedAt` is the end of the pod's init container plus
//! [`OWN_MARK`], and the operator's times are whole seconds. Messages are never parsed.
//!
//! # Content that the platform may have replaced
//!
//! When the workflow of a running session changes, the platform has the runner replace the directory,
//! and does so again when it changes back; if that clone fails, the other workflow stays on disk and
//! the platform reports success all the same. So `RestartRequired` stands until there is another pod.
//! It follows from the status alone, also for a replica that has just started, see
//! [`CurrentStatus::was_replaced`].

use jiff::{SignedDuration, Timestamp};
use workflow_contract::condition::reason;
use workflow_contract::{Exit, Stamp};

use crate::session::{AgenticSession, Condition, ReconciledWorkflow, SessionStatus};
use crate::status::outcome::{DeliveryAttempt, PodFacts};
use crate::status::verdict::{Progress, Verdict};

/// Fraction of a second by which `appliedAt` differs from every time that the operator writes.
pub const OWN_MARK: SignedDuration = SignedDuration::from_millis(1);

/// Reports whether only this controller writes conditions with this reason.
#[must_use]
pub fn is_own_reason(reason: &str) -> bool {
    let exit = Exit::from_reason(reason).is_some_and(|exit| exit != Exit::Reconciled);
    exit || (reason != reason::NOT_CONFIGURED && reason::ALL.contains(&reason))
}

/// End of the container that delivered as `appliedAt` of this controller: not before the start of the run,
/// whatever the node's clock shows.
pub fn applied_at(ended: Option<Timestamp>, pod: &PodFacts, start: Timestamp) -> Timestamp {
    let ended = ended.unwrap_or(pod.created).max(start);
    ended.saturating_add(OWN_MARK).unwrap_or(ended)
}

fn has_own_mark(at: Timestamp) -> bool {
    SignedDuration::from_nanos(at.subsec_nanosecond().into()) == OWN_MARK
}

/// The session's status before the change.
pub struct CurrentStatus<'a> {
    pub condition: Option<&'a Condition>,
    pub status: &'a SessionStatus,
    /// Start of the run.
    pub start: Timestamp,
}

impl<'a> CurrentStatus<'a> {
    pub fn reason(&self) -> &'a str {
        self.condition.and_then(|condition| condition.reason.as_deref()).unwrap_or_default()
    }

    /// The condition's reason, if this controller wrote the condition.
    pub fn own_reason(&self) -> Option<&'a str> {
        let reason = self.reason();
        let marked = || self.applied_at().is_some_and(has_own_mark);
        let own = is_own_reason(reason)
            || reason == reason::NOT_CONFIGURED
            || (reason == Exit::Reconciled.reason() && marked());
        own.then_some(reason)
    }

    /// The record of this run.
    pub fn record(&self) -> Option<&'a ReconciledWorkflow> {
        let record = self.status.reconciled_workflow.as_ref()?;
        record.applied_at.is_some_and(|applied| applied >= self.start).then_some(record)
    }

    /// Time of the outcome that the session records for this run.
    pub fn applied_at(&self) -> Option<Timestamp> {
        self.record()?.applied_at
    }

    /// Reports whether the platform may have replaced what was delivered, although the session asks for that
    /// source (again).
    ///
    /// With the init container it can't have as long as the spec is the one that was stamped (`generation`
    /// only grows). Else `RestartRequired` stands, and where the operator wrote over it or over
    /// `Reconciled`, the record shows it: both write a record that is not the one of this delivery.
    ///
    /// With a delivery into the running session the platform POSTs the same change. A POST that was
    /// recorded in the second of the container's end or later may have ended after it.
    pub fn was_replaced(
        &self,
        own: Timestamp,
        attempt: &DeliveryAttempt<'_>,
        session: &AgenticSession,
    ) -> bool {
        let stamp = attempt.stamp;
        let posted = self.applied_at().filter(|at| !has_own_mark(*at));
        let posted_later = posted.zip(attempt.ended).is_some_and(|(posted, ended)| posted >= ended);
        if attempt.live.is_some() && posted_later {
            return true;
        }
        if session.metadata.generation <= Some(stamp.generation) {
            return false;
        }
        match self.reason() {
            reason::RESTART_REQUIRED => self.record().is_some(),
            // The workflow was removed and set again, which the platform follows, too.
            reason::NOT_CONFIGURED => !self.records_delivery(own, stamp),
            other if is_own_reason(other) => false,
            _ => self.record().is_some() && !self.records_delivery(own, stamp),
        }
    }

    /// Time at which the platform had the runner replace the directory, as far as the status shows it:
    /// the operator records it with its `True/Reconciled`, and `RestartRequired` keeps that time.
    pub fn updated_by_platform(
        &self,
        own: Timestamp,
        stamp: Option<&Stamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if is_own_reason(self.reason()) && self.reason() != reason::RESTART_REQUIRED {
            return None;
        }
        let applied_at = self.applied_at()?;
        if applied_at != own {
            return Some(applied_at);
        }
        // The record is ours: the condition is not if it claims success for a `RestartRequired`.
        let success =
            self.condition.is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some("Reconciled"));
        (success && !stamp.is_some_and(|stamp| self.records_delivery(own, stamp))).then_some(now)
    }

    /// Reports whether the record is the one that this controller writes with `Reconciled` for this pod.
    pub fn records_delivery(&self, own: Timestamp, stamp: &Stamp) -> bool {
        self.record().is_some_and(|record| {
            record.applied_at == Some(own)
                && record.source() == stamp.source
                && record.status.as_deref() == Some(Progress::Active.as_str())
        })
    }

    /// Reports whether the condition is the verdict's, except for its times.
    pub fn shows(&self, verdict: &Verdict) -> bool {
        self.condition.is_some_and(|condition| {
            condition.status == verdict.status.as_str()
                && condition.reason.as_deref() == Some(verdict.reason)
                && condition.message.as_ref() == Some(&verdict.message)
                && condition.observed_generation == verdict.generation
        })
    }
}
