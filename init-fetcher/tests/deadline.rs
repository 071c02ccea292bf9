//! The time limit: whatever is being waited for then, it ends the run, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::Fetch;
use common::fault_proxies::{for_all, plain_http_server};
use workflow_contract::Exit;
use workflow_git_server::FaultPosition::{Percent, Start};
use workflow_git_server::Phase::{Connect, Listing, Pack, Refs, Subtree};
use workflow_git_server::{Certificate, Fault, FaultProxy, When};

/// Runs at a time: nearly all of their time is waiting.
const AT_A_TIME: usize = 16;

#[test]
fn reports_last_failure_at_time_limit_between_attempts() {
    let (server, repository) = plain_http_server();
    let busy = Fault::Response(429, vec![("Retry-After", "25".into())], String::new());
    let proxy = FaultProxy::start(&server, Certificate::Good, vec![(Listing, When::Always, busy)]).unwrap();
    // The requested wait is longer than the limit, so the limit falls into it, unless a busy machine is late with the
    // response.
    let ended = [2, 8, 20].into_iter().find_map(|seconds| {
        let fetch = Fetch::through(&proxy, &repository).var("WORKFLOW_TIMEOUT", &format!("{seconds}s"));
        let ended = fetch.run();
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        (ended.code != i32::from(Exit::Timeout.code())).then_some(ended)
    });
    assert!(ended.unwrap().expect(Exit::ServerError).contains("responded with 429"));
}

#[test]
fn times_out_on_servers_that_stall_or_trickle() {
    let (server, repository) = plain_http_server();
    let mut cases = vec![(Connect, Fault::Stall(Start), "connecting")];
    for (phase, doing) in [
        (Listing, "connecting"),
        (Refs, "listing"),
        (Subtree, "receiving the way to the directory"),
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
            let proxy = FaultProxy::start(&server, Certificate::Good, faults).unwrap();
            let fetch = Fetch::through(&proxy, &repository)
                .path(if *phase == Subtree { "flows" } else { "" })
                .var("WORKFLOW_TIMEOUT", &format!("{seconds}s"));
            let ended = fetch.run();
            let message = ended.expect(Exit::Timeout);
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
            if proxy.faults() > 0 {
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
