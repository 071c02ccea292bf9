//! Reports by the table: what holds, and what does not.

use jiff::Timestamp;

use crate::load::Answer;

use super::*;

fn span(from: i64, to: i64) -> Span {
    let at = |second| Timestamp::from_second(second).unwrap();
    Span { from: at(from), to: at(to) }
}

fn refused(at: i64) -> (Span, Answer) {
    let words = "failed calling webhook \"inject.workflow.ambient-code.io\"";
    (span(at, at), Answer::Refused(words.to_owned()))
}

/// Makes something not hold.
type Breaks = fn(&mut Report);

/// A run with a crash from 100 to 110.
fn good() -> Report {
    let mut report = Report {
        upheavals: vec![(Upheaval::Rollout, span(50, 60)), (Upheaval::Kill, span(100, 110))],
        lives: vec![Life { name: "s-1".to_owned(), ran: true, delivered: true, ..Life::default() }],
        refused: BTreeMap::from([("s-1".to_owned(), span(101, 101))]),
        memory: vec![vec![10_000_000, 9_000_000], vec![11_000_000], vec![12_000_000]],
        ..Report::default()
    };
    let (when, answer) = refused(101);
    report.story.sessions.count("load-1", when, answer);
    report
}

#[test]
fn what_a_crash_costs_holds() {
    assert_eq!(good().wrong(), Vec::<String>::new());
}

#[test]
fn each_thing_that_does_not_hold_is_said_once() {
    let cases: [(&str, Breaks); 8] = [
        ("created without the init container", |report| {
            report.story.sessions.count("load-2", span(1, 1), Answer::Bare);
        }),
        ("lost without a crash", |report| {
            let (when, answer) = refused(55);
            report.story.sessions.count("load-2", when, answer);
        }),
        ("lost without a crash", |report| {
            report.story.others.count("other", span(55, 55), Answer::Unanswered("reset".to_owned()));
        }),
        ("a pod of others was refused", |report| {
            let (when, answer) = refused(101);
            report.story.others.count("other", when, answer);
        }),
        ("s-2 was refused without a crash", |report| {
            report.refused.insert("s-2".to_owned(), span(55, 55));
        }),
        ("s-1: the runner skipped the prompt", |report| {
            report.lives[0].wrong.push("the runner skipped the prompt".to_owned());
        }),
        ("s-1 is stuck", |report| report.lives[0].stuck = Some("no pod".to_owned())),
        ("memory grew from 10.0 MB to 30.0 MB", |report| report.memory[2] = vec![30_000_000]),
    ];
    for (words, break_it) in cases {
        let mut report = good();
        break_it(&mut report);
        let wrong = report.wrong();
        assert!(wrong.len() == 1 && wrong[0].contains(words), "{words}: {wrong:?}");
    }
}

#[test]
fn memory_has_a_limit_of_its_own() {
    assert_eq!(growth(&[vec![60_000_000], vec![65_000_000], vec![61_000_000]]), ["a replica uses 65.0 MB"]);
    assert_eq!(growth(&[]), Vec::<String>::new());
}

#[test]
fn the_table_counts_what_was_cured() {
    let mut report = good();
    let cured = "| of these with workflow and prompt in the end | 1 |";
    assert!(report.to_string().contains(cured), "{report}");
    report.lives[0].wrong.push("no prompt".to_owned());
    assert!(!report.to_string().contains(cured), "{report}");
}
