//! What came of asking for pods, counted, and whether anything was lost. Pure: no I/O, times are given.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Name of our webhook, by which the API server names it where it can't be asked, and where it refuses.
const WEBHOOK: &str = "inject.workflow.ambient-code.io";

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
}

impl Span {
    /// Whether some of it lies in one of these.
    pub fn touches(&self, spans: &[Self]) -> bool {
        spans.iter().any(|span| self.from <= span.to && self.to >= span.from)
    }

    /// The same, lasting longer by this.
    #[must_use]
    pub fn and(self, longer: SignedDuration) -> Self {
        Self { to: self.to + longer, ..self }
    }
}

/// What came of asking for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was created, with the init container.
    Injected,
    /// It was created without.
    Bare,
    /// The API server refused, in these words.
    Refused(String),
    /// There was no answer, for this reason: what became of the pod is seen when it is deleted, if it is there.
    Unanswered(String),
}

/// A pod that was asked for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// From asking to the answer.
    pub when: Span,
    /// What was said.
    pub words: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.when.from, self.when.to, self.words)
    }
}

/// Whether these words of the API server name our webhook.
pub fn names_us(words: &str) -> bool {
    words.contains(WEBHOOK)
}

/// Pods of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were asked for, and the answer is known or will not come.
    pub asked: usize,
    /// Created with the init container.
    pub injected: usize,
    /// Created without, by name.
    pub bare: Vec<String>,
    /// Refused in words that name our webhook.
    pub refused: Vec<Miss>,
    /// Refused in other words: by the API server itself.
    pub refused_otherwise: Vec<Miss>,
    /// Not answered.
    pub unanswered: Vec<Miss>,
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, pod: &str, when: Span, answer: Answer) {
        self.asked += 1;
        match answer {
            Answer::Injected => self.injected += 1,
            Answer::Bare => self.bare.push(pod.to_owned()),
            Answer::Refused(words) if names_us(&words) => self.refused.push(Miss { when, words }),
            Answer::Refused(words) => self.refused_otherwise.push(Miss { when, words }),
            Answer::Unanswered(words) => self.unanswered.push(Miss { when, words }),
        }
    }

    /// How many were created.
    pub fn created(&self) -> usize {
        self.injected + self.bare.len()
    }
}

/// What happened while the load lasted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Session pods with a workflow.
    pub sessions: Tally,
    /// Pods that are none of our business; they are to be `bare`.
    pub others: Tally,
    /// Times in which the machine itself stood still, so that nobody could answer.
    pub stalls: Vec<Span>,
}

impl Story {
    /// What was never allowed to happen: session pods without the init container, and other pods that have to do with
    /// us, one message each.
    pub fn wrong(&self) -> Vec<String> {
        let bare =
            self.sessions.bare.iter().map(|pod| format!("{pod} was created without the init container"));
        let refused = self.others.refused.iter().map(|miss| format!("a pod of others was refused: {miss}"));
        let touched = (self.others.injected > 0)
            .then(|| format!("{} pods of others have the init container", self.others.injected));
        bare.chain(refused).chain(touched).collect()
    }

    /// Pods of both kinds that were not created, outside of these times and of those in which the machine stood still.
    pub fn lost(&self, excused: &[Span]) -> Vec<String> {
        let all = [&self.sessions, &self.others].into_iter();
        all.flat_map(|tally| [&tally.refused, &tally.refused_otherwise, &tally.unanswered])
            .flatten()
            .filter(|miss| !miss.when.touches(excused) && !miss.when.touches(&self.stalls))
            .map(ToString::to_string)
            .collect()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, others, stalls } = self;
        write!(
            f,
            "{} session pods asked for: {} injected, {} without, {} refused by us, {} otherwise, {} unanswered; \
             {} other pods: {} created; {} stalls of the machine",
            sessions.asked,
            sessions.injected,
            sessions.bare.len(),
            sessions.refused.len(),
            sessions.refused_otherwise.len(),
            sessions.unanswered.len(),
            others.asked,
            others.created(),
            stalls.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        "Internal error occurred: failed calling webhook \"inject.workflow.ambient-code.io\": refused";

    fn span(from: i64, to: i64) -> Span {
        let at = |second| Timestamp::from_second(second).unwrap();
        Span { from: at(from), to: at(to) }
    }

    fn refused(words: &str) -> Answer {
        Answer::Refused(words.to_owned())
    }

    #[test]
    fn spans_that_meet_touch() {
        for (one, touches) in
            [((0, 1), false), ((0, 2), true), ((3, 3), true), ((4, 9), true), ((5, 9), false)]
        {
            assert_eq!(span(one.0, one.1).touches(&[span(2, 4)]), touches, "{one:?}");
        }
        assert!(span(5, 9).touches(&[span(2, 4).and(SignedDuration::from_secs(1))]));
    }

    #[test]
    fn refusals_are_told_by_whom_they_name() {
        let mut tally = Tally::default();
        tally.count("a", span(0, 1), Answer::Injected);
        tally.count("b", span(0, 1), Answer::Bare);
        tally.count("c", span(0, 1), refused(OURS));
        tally.count("d", span(0, 1), refused("not yet ready to handle request"));
        tally.count("e", span(0, 1), Answer::Unanswered("reset".to_owned()));
        assert_eq!((tally.asked, tally.created(), tally.bare.as_slice()), (5, 2, &["b".to_owned()][..]));
        let counts = (tally.refused.len(), tally.refused_otherwise.len(), tally.unanswered.len());
        assert_eq!(counts, (1, 1, 1));
    }

    #[test]
    fn a_bare_session_pod_is_wrong_and_a_bare_pod_of_others_is_not() {
        let mut story = Story::default();
        story.others.count("plain", span(0, 1), Answer::Bare);
        assert_eq!(story.wrong(), Vec::<String>::new());
        story.sessions.count("s", span(0, 1), Answer::Bare);
        story.others.count("plain", span(0, 1), Answer::Injected);
        story.others.count("plain", span(0, 1), refused(OURS));
        assert_eq!(story.wrong().len(), 3);
    }

    #[test]
    fn what_was_refused_is_lost_but_for_excused_times_and_stalls() {
        let mut story = Story { stalls: vec![span(40, 50)], ..Story::default() };
        for at in [5, 25, 45] {
            story.sessions.count("s", span(at, at), refused(OURS));
        }
        story.others.count("plain", span(6, 6), Answer::Unanswered("reset".to_owned()));
        assert_eq!(story.lost(&[span(20, 30)]).len(), 2);
        assert_eq!(story.lost(&[span(0, 30)]).len(), 0);
    }
}
