//! Runs that are ended or killed: at any moment either the old or the new delivery is in place, complete; and the next
//! run delivers and removes leftovers.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::fault_proxies::{for_all, plain_http_server};
use common::{Fetch, Listing, of_disk, of_git};
use rustix::process::{Pid, Signal, kill_process};
use workflow_contract::Exit;
use workflow_git_server::FaultPosition::{Percent, Start};
use workflow_git_server::{Certificate, Fault, FaultProxy, Phase, Repository, When};

const AT_A_TIME: usize = 6;

/// Old and new contents of the published directory.
struct Contents {
    old: Listing,
    new: Listing,
}

/// Adds the branch `old`, whose tree differs from that of `main` in what is there and in content.
fn old_and_new(repository: &Repository) -> Contents {
    let old = repository.extend("main").branch("old").file("README.md", "old\n").file("gone/x", "");
    let old = old.create().unwrap();
    Contents { old: of_git(&old, "old", ""), new: of_git(repository, "main", "") }
}

/// A place where `old` stands, and `main` is to be delivered.
fn place(repository: &Repository) -> Fetch {
    let fetch = Fetch::untrusting(repository.url()).var("WORKFLOW_ALLOWED_SCHEMES", "https,http");
    fetch.clone().branch("old").run().expect(Exit::Reconciled);
    fetch
}

/// Checks what a run left that was ended, and that the next makes it good; gives whether all was tidy before.
fn check(fetch: &Fetch, contents: &Contents, published: bool, what: &str) -> bool {
    let on_disk = of_disk(&fetch.root().join("flow"));
    if !(published && on_disk == contents.new) {
        assert_eq!(on_disk, contents.old, "{what}");
    }
    let left = fetch.residue(&["flow"]);
    assert!(left.iter().all(|name| name.starts_with(".init-workflow-")), "{what}: {left:?}");
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join("flow")), contents.new, "{what}");
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new(), "{what}");
    left.is_empty()
}

/// Each phase in which a server can hold a run, and where in its response.
fn moments() -> Vec<(Phase, Fault)> {
    let mut moments = vec![(Phase::Connect, Fault::Stall(Start))];
    for phase in [Phase::Listing, Phase::Refs, Phase::Pack] {
        moments.extend([(phase, Fault::Stall(Start)), (phase, Fault::Stall(Percent(50)))]);
    }
    // All but the last bytes were received: everything that can be written before the end is written.
    moments.push((Phase::Pack, Fault::Stall(Percent(100))));
    moments
}

/// Ends runs by this signal while a server holds them; gives how many left all tidy, and of how many.
fn end_in_each_phase(signal: Signal, code: i32) -> (usize, usize) {
    let (server, repository) = plain_http_server();
    let contents = old_and_new(&repository);
    let moments = moments();
    let tidy = Mutex::new(0);
    for_all(&moments, AT_A_TIME, |(phase, fault)| {
        let what = format!("{signal:?} at {fault:?} in {phase:?}");
        let faults = vec![(*phase, When::First(1), fault.clone())];
        let proxy = FaultProxy::start(&server, Certificate::Good, faults).unwrap();
        let fetch = place(&repository)
            .var("WORKFLOW_GIT_URL", &proxy.url(repository.url()))
            .var("SSL_CERT_FILE", &proxy.ca_file().to_string_lossy());
        let mut child = fetch.spawn();
        assert!(proxy.wait_for_faults(1), "{what}: never reached");
        let signaled = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        // One second is the promise; a machine that is busy with other tests gets more.
        assert!(signaled.elapsed() < Duration::from_secs(10), "{what}");
        assert_eq!(common::code_of(status), code, "{what}");
        if signal == Signal::TERM {
            let message = workflow_contract::Termination::parse(&fetch.message());
            assert!(message.message.starts_with("interrupted by SIGTERM"), "{what}: {message:?}");
            assert_eq!(message.details.map(|details| details.reason), Some(Exit::Interrupted), "{what}");
        }
        if check(&fetch, &contents, false, &what) {
            *tidy.lock().unwrap() += 1;
        }
    });
    (tidy.into_inner().unwrap(), moments.len())
}

#[test]
fn ends_at_sigterm_in_each_phase_and_leaves_nothing() {
    let (tidy, all) = end_in_each_phase(Signal::TERM, 143);
    // Tidying has a limit of its own, which a busy machine may run into now and then.
    assert!(tidy * 2 > all, "only {tidy} of {all} were tidy");
}

#[test]
fn next_run_recovers_from_a_kill_in_each_phase() {
    end_in_each_phase(Signal::KILL, 137);
}

/// Calls that write to the volume, how many there are of each at least, and at every which of them a run is ended.
const WRITES: [(&str, u32, usize); 7] = [
    ("?mkdir,?mkdirat", 18, 4),
    ("write", 12, 3),
    ("?rename,?renameat", 4, 2),
    ("renameat2", 2, 1),
    ("?symlink,?symlinkat", 1, 1),
    ("utimensat", 4, 3),
    ("unlinkat", 24, 5),
];

fn end_at_writes(writes: &[(&'static str, u32, usize)], signal: &str, codes: &[i32]) {
    let (_server, repository) = plain_http_server();
    let contents = old_and_new(&repository);
    let mut cases = Vec::new();
    for (call, last, step) in writes {
        cases.extend((1..=*last).step_by(*step).map(|number| (*call, number)));
    }
    for_all(&cases, AT_A_TIME, |(call, number)| {
        let fetch = place(&repository);
        let traced = fetch.run_with(call, *number, &format!("signal={signal}"));
        let what = format!("{signal} at {call} number {number}: {}", traced.ended.stderr);
        assert!(traced.hit, "{what}: there is no such call");
        assert!(codes.contains(&traced.ended.code), "{what}: {}", traced.ended.code);
        if signal == "TERM" {
            let expected = if traced.ended.code == 0 { &contents.new } else { &contents.old };
            assert_eq!(&of_disk(&fetch.root().join("flow")), expected, "{what}");
        }
        check(&fetch, &contents, true, &what);
    });
}

#[test]
fn next_run_recovers_from_a_kill_at_each_write() {
    end_at_writes(&WRITES, "KILL", &[137]);
}

#[test]
fn sigterm_at_any_write_fails_before_publishing_and_succeeds_after() {
    // 0 where it was done before the signal's thread had its turn.
    let writes = [("?mkdir,?mkdirat", 18, 8), ("write", 12, 6), ("renameat2", 2, 1), ("unlinkat", 24, 8)];
    end_at_writes(&writes, "TERM", &[143, 0]);
}

#[test]
fn sigterm_after_publishing_ends_in_success_within_a_second() {
    let (_server, repository) = plain_http_server();
    let contents = old_and_new(&repository);
    let fetch = place(&repository);
    // The signal arrives with the exchange; removing the old delivery then takes long.
    let slow = ("unlinkat", "delay_enter=400000");
    let started = Instant::now();
    let traced = fetch.run_with_all(&[("renameat2", "signal=TERM:when=2"), slow]);
    let message = traced.ended.expect(Exit::Reconciled);
    assert!(traced.hit && message.starts_with("delivered ") && message.contains(" (main) to "), "{message}");
    assert!(traced.ended.details().commit.is_some());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(of_disk(&fetch.root().join("flow")), contents.new);
    check(&fetch, &contents, true, "after SIGTERM");
}

#[test]
fn next_run_recovers_from_a_kill_between_two_renames() {
    let (_server, repository) = plain_http_server();
    let contents = old_and_new(&repository);
    let without_exchange = ("renameat2", "error=EINVAL");
    let fetch = place(&repository);
    fetch.run_with_all(&[without_exchange]).ended.expect(Exit::Reconciled);
    assert!(check(&fetch, &contents, true, "without an exchange"));
    let mut empty = 0;
    // Which of the two calls a rename is depends on the library and the machine.
    for (call, number) in
        ["?rename", "?renameat"].into_iter().flat_map(|call| [1, 2, 6, 7].map(|n| (call, n)))
    {
        let fetch = place(&repository);
        let kill = format!("signal=KILL:when={number}");
        fetch.run_with_all(&[without_exchange, (call, &kill)]);
        if fetch.root().join("flow").exists() {
            check(&fetch, &contents, true, &format!("killed at {call} number {number}"));
        } else {
            // Between the two: nothing stands there, and nothing half.
            empty += 1;
            fetch.run().expect(Exit::Reconciled);
            assert_eq!(of_disk(&fetch.root().join("flow")), contents.new);
            assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
        }
    }
    assert_eq!(empty, 1, "one of the moments is that between the two renames");
}
