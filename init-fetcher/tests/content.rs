//! Content that is not written: too much of it, or not safe.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::{Fetch, git, input, repository, server};
use workflow_contract::Exit;
use workflow_git_server::Repository;

/// Puts a tree made of these `mktree` lines (with `BLOB` for some blob) on `main`.
fn hostile(repository: &Repository, lines: &[&str]) {
    let run = |args: &[&str], text: &str| {
        let mut command = git(Some(repository.path()));
        command.args(args);
        input(command, text).trim().to_owned()
    };
    let blob = run(&["hash-object", "-w", "--stdin"], "../../../etc/passwd");
    let empty = run(&["mktree"], "");
    let entries: String =
        lines.iter().map(|line| line.replace("BLOB", &blob).replace("TREE", &empty) + "\n").collect();
    let tree = run(&["mktree"], &entries);
    let commit = run(&["commit-tree", "-m", "x", &tree], "");
    repository.git(&["update-ref", "refs/heads/main", &commit]).unwrap();
}

#[test]
fn content_that_is_not_safe_is_41() {
    let server = server();
    let repository = repository(&server);
    for lines in [
        &["120000 blob BLOB\tlink"][..],
        &["100644 blob BLOB\t.git"],
        &["100644 blob BLOB\t.GIT"],
        &["40000 tree TREE\tgit~1"],
        &["100644 blob BLOB\t.g\u{200c}it"],
        &["40000 tree TREE\t.."],
        &["100644 blob BLOB\ta", "120000 blob BLOB\ta"],
    ] {
        hostile(&repository, lines);
        let fetch = Fetch::new(&server, repository.url());
        let ended = fetch.run();
        let sentence = ended.expect(Exit::UnsafeContent);
        assert!(sentence.contains("not safe to write"), "{sentence}");
        assert_eq!(fetch.residue(&[]), Vec::<String>::new(), "{lines:?}");
    }
}

#[test]
fn more_than_the_limits_allow_is_40() {
    let server = server();
    let repository =
        server.repository("flow").file("a/1", vec![b'x'; 5000]).file("a/2", "2").create().unwrap();
    for (name, value) in
        [("WORKFLOW_MAX_BYTES", "4Ki"), ("WORKFLOW_MAX_FILES", "1"), ("WORKFLOW_MAX_BYTES", "10")]
    {
        for path in ["", "a"] {
            let fetch = Fetch::new(&server, repository.url()).path(path).var(name, value);
            let ended = fetch.run();
            assert!(ended.expect(Exit::TooLarge).contains(&format!("raise {name}")), "{}", ended.message);
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        }
    }
}
