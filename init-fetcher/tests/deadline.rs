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
fn between_attempts_the_time_limit_ends_in_the_last_failure() {
    let (server, repository) = behind_fronts();
    let busy = Fault::Answer(429, vec![("Retry-After", "25".into())], String::new());
    let front = Front::start(&server, Certificate::Good, vec![(Listing, When::Always, busy)]).unwrap();
    // The wait that is asked for is longer than the limit, so the limit falls into it; but on a machine that is too
    // busy to come to the answer in time.
    let ended = [2, 8, 20].into_iter().find_map(|seconds| {
        let fetch = Fetch::through(&front, &repository).var("WORKFLOW_TIMEOUT", &format!("{seconds}s"));
        let ended = fetch.run();
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        (ended.code != i32::from(Exit::Timeout.code())).then_some(ended)
    });
    assert!(ended.unwrap().expect(Exit::ServerError).contains("answered 429"));
}

#[test]
fn whatever_stalls_or_trickles_is_34_at_the_time_limit() {
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
        // On a machine that is too busy to come that far in time there is more of it.
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
                let said = format!("the time limit of {seconds} s was reached while {doing}");
                assert!(message.contains(&said) && message.contains("raise WORKFLOW_TIMEOUT"), "{message}");
                return;
            }
        }
        assert!(*phase == Connect, "{fault:?} in {phase:?} was never reached");
    });
}
