//! Publishing while the platform's runner replaces the same directory: afterwards it holds what was requested, whole.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Fetch, of_disk, of_git, server};
use workflow_contract::Exit;

/// Files of each of the two workflows.
const FILES: usize = 200;

/// Replaces `to` by a copy of `from`, as the runner does: remove, then copy file by file. It gives up at the first error.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

#[test]
fn the_wanted_source_is_whole_after_the_runner_replaced_the_directory_at_the_same_time() {
    let server = server();
    let mut builder = server.repository("acme/flow");
    for number in 0..FILES {
        builder = builder.file(&format!("flows/new/{number}"), "new\n");
    }
    let repository = builder.create().unwrap();
    let other = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        fs::write(other.path().join(number.to_string()), "other\n").unwrap();
    }
    thread::scope(|scope| {
        for round in 0..8_u32 {
            let (server, repository, other) = (&server, &repository, other.path());
            scope.spawn(move || {
                let settled = Fetch::new(server, repository.url()).var("WORKFLOW_SETTLE", "700ms");
                let fetch = settled.path("flows/new");
                let place = fetch.root().join("flow");
                fs::create_dir_all(fetch.root()).unwrap();
                let runner = thread::spawn({
                    let (other, place) = (other.to_owned(), place.clone());
                    move || {
                        let end = Instant::now() + Duration::from_millis(u64::from(round) * 100);
                        while Instant::now() < end {
                            // An error ends one replacement only.
                            let _ = replace(&other, &place);
                        }
                    }
                });
                fetch.run().expect(Exit::Reconciled);
                runner.join().unwrap();
                assert_eq!(of_disk(&place), of_git(repository, "main", "flows/new"), "round {round}");
                assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
            });
        }
    });
}
