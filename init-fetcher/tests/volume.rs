//! Volumes that are full, refuse, or are interrupted.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{Fetch, of_disk, of_git, repository, server};
use workflow_contract::Exit;

#[test]
fn a_volume_that_refuses_is_51_and_names_owner_and_mode() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url()).var("WORKFLOW_ROOT", "/proc/nothing/here");
    let ended = fetch.run();
    let sentence = ended.expect(Exit::VolumeNotWritable);
    assert!(sentence.contains("/proc belongs to 0:0 with mode 0555"), "{sentence}");
}

#[test]
fn a_message_that_cannot_be_written_changes_nothing() {
    let server = server();
    let repository = repository(&server);
    let ended = Fetch::new(&server, repository.url()).var("WORKFLOW_TERMINATION_LOG", "/proc/x").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("the termination message could not be written"));
}

#[test]
fn permissions_of_what_is_delivered_ignore_the_umask_of_the_caller() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url()).path("flows");
    fetch.run().expect(Exit::Reconciled);
    let mode = fs::metadata(fetch.root().join("flow/review/prompt.md")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
}

#[test]
fn a_full_volume_is_50_at_whatever_write_it_fills_up() {
    let server = server();
    let content = |n: u32| format!("{n}\n").repeat(2000);
    let mut builder = server.repository("flow");
    for n in 0..20 {
        builder = builder.file(&format!("d{n}/file"), content(n * 7919));
    }
    let repository = builder.create().unwrap();
    let mut codes = Vec::new();
    for pages in (1..200).step_by(9) {
        let fetch = Fetch::new(&server, repository.url());
        let (ended, left) = fetch.run_on_volume(pages * 4096);
        if ended.code == 0 {
            assert_eq!(left, "flow\n");
        } else {
            ended.expect(Exit::VolumeFull);
            assert_eq!(left, "", "{pages} pages");
        }
        codes.push(ended.code);
    }
    assert!(codes.is_sorted_by(|a, b| a >= b), "more space never makes it worse: {codes:?}");
    assert_eq!((codes[0], codes[codes.len() - 1]), (50, 0), "{codes:?}");
}

#[test]
fn a_run_that_was_killed_at_any_moment_is_made_good_by_the_next() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url());
    for delay_ms in (0..40).step_by(4) {
        let mut child = fetch.spawn();
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let place = fetch.root().join("flow");
        if place.exists() {
            assert_eq!(of_disk(&place), of_git(&repository, "main", ""), "killed after {delay_ms} ms");
        }
    }
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", ""));
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
}
