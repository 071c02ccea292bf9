//! Every exit code of the contract is produced by a test that runs the real binary.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;

use common::Fetch;
use workflow_contract::Exit;

/// The tests of this crate by name, with their text.
fn tests() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for test in text.split("#[test]\n").skip(1) {
            let name = test.split(['(', ' ']).nth(1).unwrap();
            tests.push((format!("{}: {name}", path.file_stem().unwrap().display()), test.to_owned()));
        }
    }
    tests
}

#[test]
fn each_exit_code_is_expected_by_a_test() {
    let tests = tests();
    for exit in Exit::ALL {
        let expects = |text: &str| {
            text.contains(".expect(")
                && text.split(|c: char| !c.is_alphanumeric()).any(|word| word == exit.reason())
        };
        let by: Vec<&str> =
            tests.iter().filter(|(_, text)| expects(text)).map(|(name, _)| name.as_str()).collect();
        println!("{} {exit}: {}", exit.code(), by.join(", "));
        assert!(!by.is_empty(), "no test ends in {exit}");
    }
}

#[test]
fn reports_internal_error_as_70() {
    // Not even the watchdog can start: two descriptors are free, and it wants more.
    let fetch = Fetch::untrusting("https://h/r");
    let (ended, _) = fetch.run_by(["prlimit", "--nofile=4"].map(str::to_owned).to_vec());
    let message = ended.expect(Exit::InternalError);
    assert!(message.contains("an internal error, please report it: no watchdog"), "{message}");
}
