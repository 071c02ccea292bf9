//! What a run has shown, and whether it holds. Pure: no I/O, times are given.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

use crate::load::{Miss, Span, Story};
use crate::upheaval::Upheaval;

/// For so long after a crash calls may still be lost: until kube-proxy knows what is ready, and the API server has
/// found out that connections are dead.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(5);
/// What a replica may use; the same as while it serves ten thousand sessions.
const MEMORY: u64 = 64_000_000;
/// What one may use at the end for each byte at the beginning, in percent, and above that.
const GROWTH: (u64, u64) = (130, 4_000_000);

/// What became of one session of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// Its pod really ran.
    pub ran: bool,
    /// A runner had its workflow and its prompt.
    pub delivered: bool,
    /// What was wrong with pod, runner or condition.
    pub wrong: Vec<String>,
    /// Why it did not get to its end.
    pub stuck: Option<String>,
}

/// Memory of the replicas at one time, in bytes, each.
pub type Memory = Vec<u64>;

/// What a run has shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From it the same upheavals come again.
    pub seed: u64,
    /// How long the load lasted.
    pub length: Duration,
    /// The pods of the load.
    pub story: Story,
    /// The operator's sessions.
    pub lives: Vec<Life>,
    /// Of these, those whose pod was refused by us, and when that was seen.
    pub refused: BTreeMap<String, Span>,
    /// What was done, from when until the injector was whole again.
    pub upheavals: Vec<(Upheaval, Span)>,
    /// At the beginning, in the middle and at the end.
    pub memory: Vec<Memory>,
}

impl Report {
    /// The times in which calls may be lost.
    fn crashes(&self) -> Vec<Span> {
        let crashes = self.upheavals.iter().filter(|(upheaval, _)| upheaval.is_a_crash());
        crashes.map(|(_, span)| span.and(AFTERMATH)).collect()
    }

    /// Everything that does not hold, a message each.
    pub fn wrong(&self) -> Vec<String> {
        let crashes = self.crashes();
        let mut wrong = self.story.wrong();
        wrong.extend(self.story.lost(&crashes).iter().map(|miss| format!("lost without a crash: {miss}")));
        let others = self.refused.iter().filter(|(_, when)| !when.touches(&crashes));
        wrong.extend(others.map(|(name, when)| {
            format!("{}", Miss { when: *when, words: format!("{name} was refused without a crash") })
        }));
        for life in &self.lives {
            wrong.extend(life.wrong.iter().map(|words| format!("{}: {words}", life.name)));
            wrong.extend(life.stuck.iter().map(|words| format!("{} is stuck: {words}", life.name)));
        }
        wrong.extend(growth(&self.memory));
        wrong
    }

    /// Rows of the table: what, and how many.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Story { sessions, others, .. } = &self.story;
        let lives =
            |which: fn(&Life) -> bool| self.lives.iter().filter(|life| which(life)).count().to_string();
        let right = |life: &Life| life.wrong.is_empty() && life.stuck.is_none();
        let cured =
            self.lives.iter().filter(|life| self.refused.contains_key(&life.name) && right(life)).count();
        vec![
            ("session pods asked for", sessions.asked.to_string()),
            ("created with the init container", sessions.injected.to_string()),
            ("created without", sessions.bare.len().to_string()),
            ("refused in words that name us", sessions.refused.len().to_string()),
            ("refused by the API server itself, as it started", sessions.refused_otherwise.len().to_string()),
            ("not answered by an API server that was killed", sessions.unanswered.len().to_string()),
            ("of all these, outside of crashes", self.story.lost(&self.crashes()).len().to_string()),
            ("pods of others asked for", others.asked.to_string()),
            ("refused in words that name us", others.refused.len().to_string()),
            ("sessions of the operator", self.lives.len().to_string()),
            ("refused at first", self.refused.len().to_string()),
            ("of these with workflow and prompt in the end", cured.to_string()),
            ("run on the node", lives(|life| life.ran)),
            ("delivered, with the prompt", lives(|life| life.delivered)),
            ("pod and conditions right", lives(right)),
            ("stuck", lives(|life| life.stuck.is_some())),
        ]
    }
}

/// Sentences about memory that grows.
fn growth(memory: &[Memory]) -> Vec<String> {
    let most = |memory: &Memory| memory.iter().copied().max().unwrap_or_default();
    let large = memory.iter().map(most).filter(|most| *most > MEMORY);
    let mut wrong: Vec<_> = large.map(|most| format!("a replica uses {}", megabytes(most))).collect();
    if let [first, .., last] = memory {
        let (first, last) = (most(first), most(last));
        if last > first * GROWTH.0 / 100 + GROWTH.1 {
            wrong.push(format!("memory grew from {} to {}", megabytes(first), megabytes(last)));
        }
    }
    wrong
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} s, seed {} | |\n|---|---|", self.length.as_secs(), self.seed)?;
        for (what, count) in self.rows() {
            writeln!(f, "| {what} | {count} |")?;
        }
        for upheaval in Upheaval::ALL {
            let times = self.upheavals.iter().filter(|(done, _)| *done == upheaval).count();
            writeln!(f, "| {upheaval} | {times} times |")?;
        }
        for (when, memory) in ["beginning", "middle", "end"].iter().zip(&self.memory) {
            let each: Vec<_> = memory.iter().copied().map(megabytes).collect();
            writeln!(f, "| memory at the {when}, each replica | {} |", each.join(", "))?;
        }
        if !self.story.stalls.is_empty() {
            writeln!(f, "| times in which the machine stood still | {} |", self.story.stalls.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
