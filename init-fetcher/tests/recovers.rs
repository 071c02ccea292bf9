//! Faults that pass: the next attempt delivers, and the message counts it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::sync::Arc;

use common::fault_proxies::{for_all, plain_http_server};
use common::{Ended, Fetch, of_disk, of_git};
use workflow_contract::Exit;
use workflow_git_server::FaultPosition::{Percent, Start};
use workflow_git_server::Phase::{Connect, Listing, Pack, Refs, Subtree};
use workflow_git_server::{Certificate, Fault, FaultProxy, GitServer, Phase, Repository, When};

/// Runs at a time: much of their time is waiting between attempts.
const AT_A_TIME: usize = 24;

/// Runs through a proxy with this fault and checks what is delivered.
fn deliver(
    server: &GitServer,
    repository: &Repository,
    certificate: Certificate,
    faults: Vec<(Phase, When, Fault)>,
    path: &str,
) -> Ended {
    let what = format!("{faults:?} on the way to `{path}`");
    let proxy = FaultProxy::start(server, certificate, faults).unwrap();
    let fetch = Fetch::through(&proxy, repository).path(path);
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(repository, "main", path), "{what}");
    assert_eq!(fetch.residue(&["acme", "flow"]), Vec::<String>::new(), "{what}");
    ended
}

#[test]
fn recovers_from_passing_fault_in_each_phase() {
    let (server, repository) = plain_http_server();
    let other =
        repository.extend("main").branch("other").file("x", "y").create().unwrap().commit("other").unwrap();
    let mut cases = vec![(Connect, Fault::Reset(Start)), (Connect, Fault::Close(Start))];
    for phase in [Listing, Refs, Subtree, Pack] {
        cases.extend([
            (phase, Fault::status(429)),
            (phase, Fault::status(503)),
            (phase, Fault::Reset(Start)),
            (phase, Fault::Reset(Percent(50))),
            (phase, Fault::Close(Start)),
            (phase, Fault::Close(Percent(50))),
            (phase, Fault::Short(Percent(90))),
        ]);
    }
    for phase in [Subtree, Pack] {
        cases.extend([(phase, Fault::Corrupt(Percent(50))), (phase, Fault::WantInstead(other.clone()))]);
    }
    for_all(&cases, AT_A_TIME, |(phase, fault)| {
        let path = if *phase == Subtree { "flows" } else { "" };
        let faults = vec![(*phase, When::First(1), fault.clone())];
        let ended = deliver(&server, &repository, Certificate::Good, faults, path);
        assert_eq!(ended.details().attempts, Some(2), "{fault:?} in {phase:?}: {}", ended.stderr);
    });
}

#[test]
fn recovers_from_several_faults() {
    let (server, repository) = plain_http_server();
    let faults = vec![
        (Connect, When::First(1), Fault::Reset(Start)),
        (Pack, When::First(1), Fault::Close(Percent(50))),
    ];
    let ended = deliver(&server, &repository, Certificate::Good, faults, "");
    assert_eq!(ended.details().attempts, Some(3), "{}", ended.stderr);
}

#[test]
fn recovers_from_broken_and_corrupt_responses() {
    let (server, repository) = plain_http_server();
    let mut cases = Vec::new();
    for percent in [0, 99, 100] {
        for phase in [Listing, Refs, Pack] {
            cases.push((phase, Fault::Close(Percent(percent))));
        }
        // The very last byte is git's framing behind the pack.
        cases.push((Pack, Fault::Short(Percent(percent))));
    }
    cases.extend([0, 1, 2, 20, 80, 98].map(|percent| (Pack, Fault::Corrupt(Percent(percent)))));
    for_all(&cases, AT_A_TIME, |(phase, fault)| {
        let faults = vec![(*phase, When::First(1), fault.clone())];
        let ended = deliver(&server, &repository, Certificate::None, faults, "");
        let attempts = ended.details().attempts;
        assert_eq!(attempts, Some(2), "{fault:?} in {phase:?}: {}", ended.stderr);
    });
}

#[test]
fn respects_retry_after() {
    let (server, repository) = plain_http_server();
    // By the server's own clock, whatever it shows.
    let date = |time: &str| format!("Wed, 21 Oct 2015 07:28:{time} GMT");
    let by_date = vec![("Date", date("00")), ("Retry-After", date("02"))];
    let cases = [by_date, vec![("Retry-After", "2".to_owned())]];
    for_all(&cases, AT_A_TIME, |headers| {
        let faults = vec![(Listing, When::First(1), Fault::Response(429, headers.clone(), String::new()))];
        let ended = deliver(&server, &repository, Certificate::Good, faults, "");
        assert_eq!(ended.details().attempts, Some(2));
        assert!(ended.stderr.contains("wait_ms=2000"), "{}", ended.stderr);
    });
}

/// A repository whose branch `forced` shares only the past with `main`.
fn with_two_futures(server: &GitServer) -> Repository {
    let past = server.repository("flow").file("flows/a", "past\n").commit("past");
    let repository = past.branch("forced").file("flows/a", "forced\n").create().unwrap();
    repository.extend("main").file("flows/a", "first\n").create().unwrap()
}

#[test]
fn lists_again_after_a_forced_push() {
    let (server, _) = plain_http_server();
    for (path, phase) in [("", Pack), ("flows", Subtree), ("flows", Pack)] {
        let repository = with_two_futures(&server);
        let old = repository.commit("main").unwrap();
        let pushed = repository.clone();
        let force_push = move || {
            pushed.git(&["update-ref", "refs/heads/main", "refs/heads/forced"]).unwrap();
            pushed.git(&["gc", "--quiet", "--prune=now"]).unwrap();
            assert!(pushed.git(&["cat-file", "-e", &old]).is_err(), "the old tip is gone");
        };
        let faults = vec![(phase, When::First(1), Fault::Before(Arc::new(force_push)))];
        let ended = deliver(&server, &repository, Certificate::Good, faults, path);
        assert_eq!(ended.details().commit, repository.commit("forced").ok(), "{}", ended.stderr);
        assert_eq!(ended.details().attempts, Some(2), "{}", ended.stderr);
        std::fs::remove_dir_all(repository.path()).unwrap();
    }
}
