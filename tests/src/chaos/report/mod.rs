//! The report of a run, and its evaluation. Pure: times are parameters.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use crate::disruption::Disruption;
use crate::load::{FailedRequest, LoadReport, Span};

/// Time after a crash in which requests may still fail: until kube-proxy has updated the endpoints, and the API server
/// has detected broken connections.
const CRASH_RECOVERY: SignedDuration = SignedDuration::from_secs(5);
/// Limit of a replica's memory; the same as with ten thousand sessions.
const MAX_MEMORY: u64 = 64_000_000;
/// Limit of memory at the end: percent of that at the beginning, and bytes added to it.
const MAX_GROWTH: (u64, u64) = (130, 4_000_000);

/// Result of one session of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionResult {
    pub name: String,
    /// Its pod ran on a node.
    pub ran: bool,
    /// A runner had its workflow and its prompt.
    pub delivered: bool,
    /// Deviations of pod, runner or condition from the expected outcome.
    pub problems: Vec<String>,
    /// The reason if its pod found no node, or was rejected by the kubelet.
    pub not_run: Option<String>,
    /// The error if it did not reach its end.
    pub stuck: Option<String>,
}

/// Resident memory of each replica at one time, in bytes.
pub type ReplicaMemory = Vec<u64>;

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct ChaosReport {
    pub seed: u64,
    pub length: Duration,
    pub load: LoadReport,
    pub sessions: Vec<SessionResult>,
    /// Sessions whose pod was denied at first, with the time of the denial.
    pub denied: BTreeMap<String, Span>,
    /// Each with the time from its start until the injector was healthy again.
    pub disruptions: Vec<(Disruption, Span)>,
    /// At the beginning, in the middle and at the end.
    pub memory: Vec<ReplicaMemory>,
}

impl ChaosReport {
    /// Periods in which requests may fail.
    fn crashes(&self) -> Vec<Span> {
        let crashes = self.disruptions.iter().filter(|(disruption, _)| disruption.is_a_crash());
        crashes.map(|(_, span)| span.extended(CRASH_RECOVERY)).collect()
    }

    /// Violated requirements, one message each.
    pub fn violations(&self) -> Vec<String> {
        let crashes = self.crashes();
        let mut violations = self.load.violations();
        let failures = self.load.failures(&crashes);
        violations.extend(failures.iter().map(|failure| format!("failed without a crash: {failure}")));
        let denied = self.denied.iter().filter(|(_, when)| !when.overlaps(&crashes));
        violations.extend(denied.map(|(name, when)| {
            format!(
                "{}",
                FailedRequest { when: *when, message: format!("{name} was denied without a crash") }
            )
        }));
        for session in &self.sessions {
            violations.extend(session.problems.iter().map(|problem| format!("{}: {problem}", session.name)));
            violations
                .extend(session.stuck.iter().map(|reason| format!("{} is stuck: {reason}", session.name)));
        }
        let not_run = self.sessions.iter().find_map(|session| session.not_run.as_ref());
        if let Some(reason) = not_run.filter(|_| !self.sessions.iter().any(|session| session.ran)) {
            violations.push(format!("no session ran, free some capacity of the nodes: {reason}"));
        }
        violations.extend(growth(&self.memory));
        violations
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let LoadReport { sessions: pods, others, .. } = &self.load;
        let count = |which: fn(&SessionResult) -> bool| {
            self.sessions.iter().filter(|session| which(session)).count().to_string()
        };
        let is_right = |session: &SessionResult| session.problems.is_empty() && session.stuck.is_none();
        let recovered = self
            .sessions
            .iter()
            .filter(|session| self.denied.contains_key(&session.name) && is_right(session))
            .count();
        vec![
            ("session pods requested", pods.requested.to_string()),
            ("created with the init container", pods.injected.to_string()),
            ("created without", pods.not_injected.len().to_string()),
            ("denied, or the webhook could not be called", pods.denied.len().to_string()),
            ("rejected by the API server itself while it started", pods.rejected.len().to_string()),
            ("not answered by an API server that was killed", pods.no_response.len().to_string()),
            ("failed outside of crashes", self.load.failures(&self.crashes()).len().to_string()),
            ("other pods requested", others.requested.to_string()),
            ("other pods denied", others.denied.len().to_string()),
            ("sessions of the operator", self.sessions.len().to_string()),
            ("denied at first", self.denied.len().to_string()),
            ("of these with workflow and prompt in the end", recovered.to_string()),
            ("run on a node", count(|session| session.ran)),
            ("not run: no capacity, or rejected by the kubelet", count(|session| session.not_run.is_some())),
            ("delivered, with the prompt", count(|session| session.delivered)),
            ("pod and conditions right", count(is_right)),
            ("stuck", count(|session| session.stuck.is_some())),
        ]
    }
}

/// Messages about memory beyond the limits.
fn growth(memory: &[ReplicaMemory]) -> Vec<String> {
    let largest = |memory: &ReplicaMemory| memory.iter().copied().max().unwrap_or_default();
    let too_large = memory.iter().map(largest).filter(|bytes| *bytes > MAX_MEMORY);
    let mut violations: Vec<_> =
        too_large.map(|bytes| format!("a replica uses {}", megabytes(bytes))).collect();
    if let [first, .., last] = memory {
        let (first, last) = (largest(first), largest(last));
        if last > first * MAX_GROWTH.0 / 100 + MAX_GROWTH.1 {
            violations.push(format!("memory grew from {} to {}", megabytes(first), megabytes(last)));
        }
    }
    violations
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} s, seed {} | |\n|---|---|", self.length.as_secs(), self.seed)?;
        for (what, count) in self.rows() {
            writeln!(f, "| {what} | {count} |")?;
        }
        for disruption in Disruption::ALL.into_iter().filter(|_| !self.disruptions.is_empty()) {
            let times = self.disruptions.iter().filter(|(done, _)| *done == disruption).count();
            writeln!(f, "| {disruption} | {times} times |")?;
        }
        for (when, memory) in ["beginning", "middle", "end"].iter().zip(&self.memory) {
            let each: Vec<_> = memory.iter().copied().map(megabytes).collect();
            writeln!(f, "| memory at the {when}, each replica | {} |", each.join(", "))?;
        }
        if !self.load.stalls.is_empty() {
            writeln!(f, "| stalls of the machine | {} |", self.load.stalls.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
