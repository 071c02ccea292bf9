//! The time limit: whatever is being waited for then, it ends the run, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::Fetch;
use common::fronts::{behind_fronts, for_all};
use workflow_contract::Exit;
use workflow_git_server::At::{Percent, Start};
use workflow_git_server::Phase::{Connect, Listing, Pack, Refs, WayDown};
use workflow_git_server::{Certificate, Fault, Front, When};

/// Runs at a time: nearly all of their time is waiting.
const AT_A_TIME: usize = 16;

#[test]
fn reports_last_failure_at_time_limit_between_attempts() {
    let (server, repository) = behind_fronts();
    let busy = Fault::Response(429, vec![("Retry-After", "25".into())], String::new());
    let front = Front::start(&server, Certificate::Good, vec![(Listing, When::Always, busy)]).unwrap();
    // The requested wait is longer than the limit, so the limit falls into it, unless a busy machine is late with the
    // response.
    let ended = [2, 8, 20].into_iter().find_map(|seconds| {
        let fetch = Fetch::through(&front, &repository).var("WORKFLOW_TIMEOUT", &format!("{seconds}s"));
        let ended = fetch.run();
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        (ended.code != i32::from(Exit::Timeout.code())).then_some(ended)
    });
    assert!(ended.unwrap().expect(Exit::ServerError).contains("responded with 429"));
}

#[test]
fn times_out_on_servers_that_stall_or_trickle() {
    let (server, repository) = behind_fronts();
    let mut cases = vec![(Connect, Fault::Stall(Start), "connecting")];
    for (phase, doing) in [
        (Listing, "connecting"),
        (Refs, "listing"),
        (WayDown, "receiving the way to the directory"),
        (Pack, "receiving the pack"),
    ] {
        for fault in [Fault::Stall(Start), Fault::Stall(Percent(50)), Fault::Drip] {
            cases.push((phase, fault, doing));
        }
    }
    for_all(&cases, AT_A_TIME, |(phase, fault, doing)| {
        // A busy machine may reach the limit earlier.
        for seconds in [3, 12, 48] {
            let faults = vec![(*phase, When::Always, fault.clone())];
            let front = Front::start(&server, Certificate::Good, faults).unwrap();
            let fetch = Fetch::through(&front, &repository)
                .path(if *phase == WayDown { "flows" } else { "" })
                .var("WORKFLOW_TIMEOUT", &format!("{seconds}s"));
            let ended = fetch.run();
            let message = ended.expect(Exit::Timeout);
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
            if front.faults() > 0 {
                let expected = format!("the time limit of {seconds} s was reached while {doing}");
                assert!(
                    message.contains(&expected) && message.contains("raise WORKFLOW_TIMEOUT"),
                    "{message}"
                );
                return;
            }
        }
        assert!(*phase == Connect, "{fault:?} in {phase:?} was never reached");
    });
}
