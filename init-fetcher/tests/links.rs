//! Symlinks: what stays inside is kept, what leads elsewhere in the repository is replaced by what git has there, the
//! rest is left out or refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;

use common::ssh::Ssh;
use common::{Fetch, Listing, git_says, of_disk, of_git, server};
use workflow_contract::Exit;
use workflow_git_server::{
    Certificate, FaultProxy, GitServer, Profile, Repository, RepositoryBuilder, Settings,
};

fn repository(builder: RepositoryBuilder) -> Repository {
    builder
        .file("CLAUDE.md", "rules\n")
        .executable("shared/bin/run", "#!/bin/sh\n")
        .file("shared/skills/a/SKILL.md", "a\n")
        .symlink("shared/skills/b", "a")
        .symlink("shared/skills/run", "../bin/run")
        .symlink("latest", "shared/skills")
        .symlink("wf/CLAUDE.md", "../CLAUDE.md")
        .symlink("wf/skills", "../shared/skills")
        .symlink("wf/skill.md", "../latest/b/SKILL.md")
        .symlink("wf/deep/run", "../skills/run")
        .symlink("wf/inside", "deep/none")
        .file("wf/prompt.md", "x\n")
        .file("other/big", vec![b'x'; 300_000])
        .create()
        .unwrap()
}

/// The directory as git has it, with these paths replaced by other paths of the repository.
fn replaced(repository: &Repository, copies: &[(&str, &str)]) -> Listing {
    let all = of_git(repository, "main", "");
    let mut listing = of_git(repository, "main", "wf");
    for (path, from) in copies {
        listing.remove(*path);
        for (name, entry) in &all {
            if name == from {
                listing.insert((*path).to_owned(), entry.clone());
            } else if let Some(rest) = name.strip_prefix(&format!("{from}/")) {
                listing.insert(format!("{path}/{rest}"), entry.clone());
            }
        }
    }
    listing
}

const COPIES: [(&str, &str); 5] = [
    ("CLAUDE.md", "CLAUDE.md"),
    ("skills", "shared/skills"),
    ("skill.md", "shared/skills/a/SKILL.md"),
    ("deep/run", "shared/bin/run"),
    ("skills/run", "shared/bin/run"),
];

fn check(fetch: &Fetch, repository: &Repository, case: &str) {
    let ended = fetch.run();
    let message = ended.expect(Exit::Reconciled);
    let expected = "5 symlinks out of the directory were replaced by copies, the first: `wf/CLAUDE.md`";
    assert!(message.contains(expected), "{case}: {message}");
    let place = fetch.root().join("flow");
    assert_eq!(of_disk(&place), replaced(repository, &COPIES), "{case}");
    assert!(!place.join(".git").exists());
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new(), "{case}");
}

#[test]
fn links_elsewhere_in_the_repository_become_copies() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for (name, profile) in
        [("flow", Profile::Filters), ("plain/flow", Profile::NoFilters), ("v0/flow", Profile::Filters)]
    {
        let repository = repository(server.repository(name).profile(profile));
        check(&Fetch::new(&server, repository.url()).path("wf"), &repository, name);
    }
    let sha256 = repository(server.repository("sha256/flow").sha256());
    check(&Fetch::new(&server, sha256.url()).path("wf"), &sha256, "sha256");
}

#[test]
fn links_become_copies_over_ssh() {
    let server = server();
    let repository = repository(server.repository("flow"));
    for v2 in [true, false] {
        let ssh = Ssh::start(v2);
        check(&ssh.fetch(&repository).path("wf"), &repository, &format!("v2: {v2}"));
    }
}

#[test]
fn fetches_only_the_targets_of_links() {
    let server = server();
    let repository = repository(server.repository("flow"));
    let fetch = Fetch::new(&server, repository.url()).path("wf").var("WORKFLOW_MAX_BYTES", "20Ki");
    check(&fetch, &repository, "other/big is not received");
}

#[test]
fn whole_repositories_keep_their_links() {
    let server = server();
    let repository = repository(server.repository("flow"));
    let fetch = Fetch::new(&server, repository.url());
    let ended = fetch.run();
    assert!(!ended.expect(Exit::Reconciled).contains("symlink"), "{}", ended.message);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", ""));
}

fn unsafe_repository(server: &GitServer, name: &str) -> Repository {
    server
        .repository(name)
        .file("wf/prompt.md", "x\n")
        .symlink("wf/bin/python", "/usr/bin/python3")
        .symlink("wf/out", "../../elsewhere")
        .symlink("wf/by-way", "bin/python")
        .symlink("wf/kept", "prompt.md")
        .create()
        .unwrap()
}

const LEFT_OUT: [&str; 3] = ["bin/python", "by-way", "out"];

#[test]
fn unsafe_links_are_left_out_and_git_status_stays_clean() {
    let server = server();
    let repository = unsafe_repository(&server, "flow");
    for path in ["", "wf"] {
        let fetch = Fetch::new(&server, repository.url()).path(path);
        let ended = fetch.run();
        let expected = "3 symlinks were left out, the first: `wf/bin/python`, an absolute symlink";
        assert!(ended.expect(Exit::Reconciled).contains(expected), "{}", ended.message);
        let place = fetch.root().join("flow");
        let mut expected = of_git(&repository, "main", path);
        let prefix = if path.is_empty() { "wf/" } else { "" };
        for name in LEFT_OUT {
            assert!(expected.remove(&format!("{prefix}{name}")).is_some());
        }
        // The directory that held only such a link is there, and empty.
        expected.insert(format!("{prefix}bin"), ("160000".into(), Vec::new()));
        assert_eq!(of_disk(&place), expected, "{path:?}");
        if path.is_empty() {
            assert_eq!(git_says(&place, &["status", "--porcelain"]), "");
            let flags = git_says(&place, &["ls-files", "-v", "wf"]);
            for name in LEFT_OUT {
                assert!(flags.contains(&format!("S wf/{name}\n")), "{flags}");
            }
            assert!(flags.contains("H wf/kept\n"), "{flags}");
            git_says(&place, &["fsck", "--strict"]);
        }
    }
}

#[test]
fn rejects_unsafe_links_if_configured() {
    let server = server();
    let repository = unsafe_repository(&server, "flow");
    for path in ["", "wf"] {
        let fetch = Fetch::new(&server, repository.url()).path(path).var("WORKFLOW_UNSAFE_LINKS", "refuse");
        let ended = fetch.run();
        let message = ended.expect(Exit::UnsafeContent);
        assert!(message.contains("an absolute symlink at `wf/bin/python`"), "{message}");
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
    }
    let fetch = Fetch::new(&server, repository.url()).var("WORKFLOW_UNSAFE_LINKS", "follow");
    assert!(fetch.run().expect(Exit::InvalidSource).contains("WORKFLOW_UNSAFE_LINKS"));
}

#[test]
fn rejects_circular_links() {
    let server = server();
    for (number, links) in [
        &[("wf/up", "..")][..],
        &[("wf/self", "../wf")],
        &[("wf/a", "../b"), ("b", "wf/a")],
        &[("wf/a", "../s/t"), ("s/t/back", "../../wf")],
    ]
    .into_iter()
    .enumerate()
    {
        let mut builder = server.repository(&format!("r{number}")).file("wf/x", "x").file("s/t/y", "y");
        for (path, target) in links {
            builder = builder.symlink(path, target);
        }
        let repository = builder.create().unwrap();
        let fetch = Fetch::new(&server, repository.url()).path("wf");
        let ended = fetch.run();
        assert!(ended.expect(Exit::UnsafeContent).contains("in a circle"), "{}", ended.message);
        // git delivers such a repository, and so do we.
        Fetch::new(&server, repository.url()).run().expect(Exit::Reconciled);
    }
}

#[test]
fn copies_count_against_the_limits() {
    let server = server();
    let mut builder = server.repository("flow").file("wf/x", "x").file("big", vec![b'x'; 60_000]);
    for number in 0..30 {
        builder = builder.symlink(&format!("wf/{number}"), "../big");
    }
    let repository = builder.create().unwrap();
    let fetch = || Fetch::new(&server, repository.url()).path("wf");
    fetch().run().expect(Exit::Reconciled);
    let ended = fetch().var("WORKFLOW_MAX_BYTES", "1Mi").run();
    assert!(ended.expect(Exit::TooLarge).contains("raise WORKFLOW_MAX_BYTES"), "{}", ended.message);
}

#[test]
fn requests_are_added_by_links_out_of_the_directory_only() {
    let (server, proxy) = FaultProxy::with_own_server(Certificate::Good, Vec::new()).unwrap();
    let repository =
        repository(server.repository("acme/flow").symlink("plain/link", "file").file("plain/file", "x"));
    // The advertisement, the listing, the commit with its trees, the directory; with links: the targets and `latest`,
    // then what is at the end of that one.
    for (path, requests) in [("", 3), ("plain", 4), ("shared/skills/a", 4), ("wf", 6)] {
        let before = proxy.requests().len();
        Fetch::through(&proxy, &repository).path(path).run().expect(Exit::Reconciled);
        assert_eq!(proxy.requests().len() - before, requests, "{path:?}: {:?}", &proxy.requests()[before..]);
    }
}

#[test]
fn many_links_are_resolved_in_few_requests() {
    let server = server();
    let mut builder = server.repository("flow").file("wf/x", "x");
    for number in 0..2500 {
        builder = builder
            .file(&format!("s/{}/{number}", number % 10), format!("file {number}"))
            .symlink(&format!("l/{number}"), &format!("../s/{}/{number}", number % 10))
            .symlink(&format!("wf/{number}"), &format!("../l/{number}"));
    }
    let repository = builder.create().unwrap();
    let fetch = Fetch::new(&server, repository.url()).path("wf");
    fetch.run().expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    for number in [0, 1, 999, 1000, 2499] {
        assert_eq!(content(&place.join(number.to_string())), format!("file {number}"));
    }
    let files =
        fs::read_dir(place).unwrap().filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file());
    assert_eq!(files.count(), 2501);
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
