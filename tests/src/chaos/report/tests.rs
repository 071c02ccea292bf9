use jiff::Timestamp;

use crate::load::Response;

use super::*;

fn span(from: i64, to: i64) -> Span {
    let at = |second| Timestamp::from_second(second).unwrap();
    Span { from: at(from), to: at(to) }
}

fn denied(at: i64) -> (Span, Response) {
    let message = "failed calling webhook \"inject.workflow.ambient-code.io\"";
    (span(at, at), Response::Rejected(message.to_owned()))
}

type Edit = fn(&mut ChaosReport);

/// A run with a crash from 100 to 110.
fn mk_report() -> ChaosReport {
    let mut report = ChaosReport {
        disruptions: vec![(Disruption::Rollout, span(50, 60)), (Disruption::LeaderKill, span(100, 110))],
        sessions: vec![SessionResult {
            name: "s-1".to_owned(),
            ran: true,
            delivered: true,
            ..SessionResult::default()
        }],
        denied: BTreeMap::from([("s-1".to_owned(), span(101, 101))]),
        memory: vec![vec![10_000_000, 9_000_000], vec![11_000_000], vec![12_000_000]],
        ..ChaosReport::default()
    };
    let (when, response) = denied(101);
    report.load.sessions.count("load-1", when, response);
    report
}

#[test]
fn accepts_failures_during_a_crash() {
    assert_eq!(mk_report().violations(), Vec::<String>::new());
}

#[test]
fn reports_each_violation_once() {
    let cases: [(&str, Edit); 8] = [
        ("created without the init container", |report| {
            report.load.sessions.count("load-2", span(1, 1), Response::NotInjected);
        }),
        ("failed without a crash", |report| {
            let (when, response) = denied(55);
            report.load.sessions.count("load-2", when, response);
        }),
        ("failed without a crash", |report| {
            report.load.others.count("other", span(55, 55), Response::NoResponse("reset".to_owned()));
        }),
        ("a pod of others was denied", |report| {
            let (when, response) = denied(101);
            report.load.others.count("other", when, response);
        }),
        ("s-2 was denied without a crash", |report| {
            report.denied.insert("s-2".to_owned(), span(55, 55));
        }),
        ("s-1: the runner skipped the prompt", |report| {
            report.sessions[0].problems.push("the runner skipped the prompt".to_owned());
        }),
        ("s-1 is stuck", |report| report.sessions[0].stuck = Some("no pod".to_owned())),
        ("memory grew from 10.0 MB to 30.0 MB", |report| report.memory[2] = vec![30_000_000]),
    ];
    for (message, change) in cases {
        let mut report = mk_report();
        change(&mut report);
        let violations = report.violations();
        assert!(violations.len() == 1 && violations[0].contains(message), "{message}: {violations:?}");
    }
}

#[test]
fn accepts_sessions_without_a_node_as_long_as_another_ran() {
    let mut report = mk_report();
    let message = "Pod failed: OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu";
    report.sessions.push(SessionResult { not_run: Some(message.to_owned()), ..SessionResult::default() });
    assert_eq!(report.violations(), Vec::<String>::new());
    assert!(
        report.to_string().contains("| not run: no capacity, or rejected by the kubelet | 1 |"),
        "{report}"
    );
    report.sessions.remove(0);
    assert!(report.violations()[0].contains("no session ran"), "{:?}", report.violations());
}

#[test]
fn limits_memory() {
    assert_eq!(growth(&[vec![60_000_000], vec![65_000_000], vec![61_000_000]]), ["a replica uses 65.0 MB"]);
    assert_eq!(growth(&[]), Vec::<String>::new());
}

#[test]
fn counts_sessions_that_recovered_from_a_denial() {
    let mut report = mk_report();
    let recovered = "| of these with workflow and prompt in the end | 1 |";
    assert!(report.to_string().contains(recovered), "{report}");
    report.sessions[0].problems.push("no prompt".to_owned());
    assert!(!report.to_string().contains(recovered), "{report}");
}
