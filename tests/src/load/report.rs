//! Counts the responses to the load's requests, and lists violations and failures. Pure: times are parameters.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Name of our webhook, which the API server's message contains where the webhook denies or can't be called.
const WEBHOOK: &str = "inject.workflow.ambient-code.io";

/// A period of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Span {
    /// Reports whether it overlaps one of these.
    pub fn overlaps(&self, spans: &[Self]) -> bool {
        spans.iter().any(|span| self.from <= span.to && self.to >= span.from)
    }

    /// Extends the end.
    #[must_use]
    pub fn extended(self, longer: SignedDuration) -> Self {
        Self { to: self.to + longer, ..self }
    }
}

/// Response to the creation of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Created with the init container.
    Injected,
    /// Created without the init container.
    NotInjected,
    /// Rejected by the API server, with this message.
    Rejected(String),
    /// No response, for this reason. The pod may exist: its deletion shows.
    NoResponse(String),
}

/// A creation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRequest {
    /// From request to response.
    pub when: Span,
    pub message: String,
}

impl fmt::Display for FailedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.when.from, self.when.to, self.message)
    }
}

/// Reports whether a message of the API server names our webhook.
pub fn names_our_webhook(message: &str) -> bool {
    message.contains(WEBHOOK)
}

/// Requests for pods of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requested: usize,
    pub injected: usize,
    /// Names of pods that were created without the init container.
    pub not_injected: Vec<String>,
    /// Denied by our webhook, or failed because it could not be called.
    pub denied: Vec<FailedRequest>,
    /// Rejected by the API server itself.
    pub rejected: Vec<FailedRequest>,
    pub no_response: Vec<FailedRequest>,
}

impl Tally {
    pub fn count(&mut self, pod: &str, when: Span, response: Response) {
        self.requested += 1;
        match response {
            Response::Injected => self.injected += 1,
            Response::NotInjected => self.not_injected.push(pod.to_owned()),
            Response::Rejected(message) if names_our_webhook(&message) => {
                self.denied.push(FailedRequest { when, message });
            }
            Response::Rejected(message) => self.rejected.push(FailedRequest { when, message }),
            Response::NoResponse(message) => self.no_response.push(FailedRequest { when, message }),
        }
    }

    pub fn created(&self) -> usize {
        self.injected + self.not_injected.len()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Session pods with a workflow.
    pub sessions: Tally,
    /// Pods that do not concern the injector; they must not be injected.
    pub others: Tally,
    /// Periods in which the machine itself stalled, so that no request could be answered.
    pub stalls: Vec<Span>,
}

impl LoadReport {
    /// Results that are never allowed, one message each: session pods without the init container, and other pods that
    /// the injector denied or changed.
    pub fn violations(&self) -> Vec<String> {
        let not_injected = self
            .sessions
            .not_injected
            .iter()
            .map(|pod| format!("{pod} was created without the init container"));
        let denied =
            self.others.denied.iter().map(|failure| format!("a pod of others was denied: {failure}"));
        let changed = (self.others.injected > 0)
            .then(|| format!("{} pods of others have the init container", self.others.injected));
        not_injected.chain(denied).chain(changed).collect()
    }

    /// Creations that failed outside of these periods and of stalls.
    pub fn failures(&self, excused: &[Span]) -> Vec<String> {
        let all = [&self.sessions, &self.others].into_iter();
        all.flat_map(|tally| [&tally.denied, &tally.rejected, &tally.no_response])
            .flatten()
            .filter(|failure| !failure.when.overlaps(excused) && !failure.when.overlaps(&self.stalls))
            .map(ToString::to_string)
            .collect()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, others, stalls } = self;
        write!(
            f,
            "{} session pods requested: {} injected, {} not injected, {} denied, {} rejected, {} without response; \
             {} other pods: {} created; {} stalls of the machine",
            sessions.requested,
            sessions.injected,
            sessions.not_injected.len(),
            sessions.denied.len(),
            sessions.rejected.len(),
            sessions.no_response.len(),
            others.requested,
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

    fn rejected(message: &str) -> Response {
        Response::Rejected(message.to_owned())
    }

    #[test]
    fn periods_that_meet_overlap() {
        for (one, overlaps) in
            [((0, 1), false), ((0, 2), true), ((3, 3), true), ((4, 9), true), ((5, 9), false)]
        {
            assert_eq!(span(one.0, one.1).overlaps(&[span(2, 4)]), overlaps, "{one:?}");
        }
        assert!(span(5, 9).overlaps(&[span(2, 4).extended(SignedDuration::from_secs(1))]));
    }

    #[test]
    fn distinguishes_denials_from_rejections_by_the_webhooks_name() {
        let mut tally = Tally::default();
        tally.count("a", span(0, 1), Response::Injected);
        tally.count("b", span(0, 1), Response::NotInjected);
        tally.count("c", span(0, 1), rejected(OURS));
        tally.count("d", span(0, 1), rejected("not yet ready to handle request"));
        tally.count("e", span(0, 1), Response::NoResponse("reset".to_owned()));
        assert_eq!(
            (tally.requested, tally.created(), tally.not_injected.as_slice()),
            (5, 2, &["b".to_owned()][..])
        );
        let counts = (tally.denied.len(), tally.rejected.len(), tally.no_response.len());
        assert_eq!(counts, (1, 1, 1));
    }

    #[test]
    fn requires_injection_of_session_pods_only() {
        let mut report = LoadReport::default();
        report.others.count("plain", span(0, 1), Response::NotInjected);
        assert_eq!(report.violations(), Vec::<String>::new());
        report.sessions.count("s", span(0, 1), Response::NotInjected);
        report.others.count("plain", span(0, 1), Response::Injected);
        report.others.count("plain", span(0, 1), rejected(OURS));
        assert_eq!(report.violations().len(), 3);
    }

    #[test]
    fn excuses_failures_in_given_periods_and_stalls() {
        let mut report = LoadReport { stalls: vec![span(40, 50)], ..LoadReport::default() };
        for at in [5, 25, 45] {
            report.sessions.count("s", span(at, at), rejected(OURS));
        }
        report.others.count("plain", span(6, 6), Response::NoResponse("reset".to_owned()));
        assert_eq!(report.failures(&[span(20, 30)]).len(), 2);
        assert_eq!(report.failures(&[span(0, 30)]).len(), 0);
    }
}
