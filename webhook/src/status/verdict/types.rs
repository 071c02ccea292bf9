//! The content of a condition.

use jiff::Timestamp;
use workflow_contract::condition::{event, reason};
use workflow_contract::{Source, Stamp};

/// `status` of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    /// The workflow is on disk, or none is asked for.
    True,
    False,
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

/// A condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub status: ConditionStatus,
    pub reason: &'static str,
    pub message: String,
    /// Generation of the session whose source was delivered or tried.
    pub generation: Option<i64>,
    /// Status of `reconciledWorkflow`; none where that is left alone.
    pub progress: Option<Progress>,
    /// `appliedAt` of `reconciledWorkflow`, where it does not depend on the time of the write.
    pub applied_at: Option<Timestamp>,
}

impl ConditionStatus {
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
    /// A failure, unless the caller changes it.
    pub(super) fn new(reason: &'static str, message: String) -> Self {
        Self {
            status: ConditionStatus::False,
            reason,
            message,
            generation: None,
            progress: Some(Progress::Failed),
            applied_at: None,
        }
    }

    pub(super) fn about(self, stamp: &Stamp) -> Self {
        Self { generation: Some(stamp.generation), ..self }
    }

    /// Reason of the Event that reports it.
    #[must_use]
    pub fn event(&self) -> Option<&'static str> {
        event(self.status.as_str(), self.reason)
    }
}

/// Reason of the Event that reports a condition of ours with this status and reason.
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

/// The container is to deliver the source, waits for something (`when`), or runs.
pub fn fetching(container: &str, source: &Source, when: &str) -> Verdict {
    Verdict {
        status: ConditionStatus::Unknown,
        progress: Some(Progress::Cloning),
        ..Verdict::new(reason::FETCHING, format!("{container} is to deliver {source}{when}"))
    }
}
