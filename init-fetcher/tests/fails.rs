//! What is asked for and can't be: each has its exit code, a message that says what to do, and leaves
//! nothing behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::{Fetch, repository, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Settings};

#[test]
fn malformed_settings_are_10() {
    for (name, value) in [
        ("WORKFLOW_GIT_URL", ""),
        ("WORKFLOW_GIT_URL", "not a url"),
        ("WORKFLOW_GIT_URL", "https://h/.git"),
        ("WORKFLOW_BRANCH", "a..b"),
        ("WORKFLOW_PATH", "../etc"),
        ("WORKFLOW_TIMEOUT", "soon"),
        ("LOG_FORMAT", "xml"),
    ] {
        let fetch = Fetch::untrusting("https://h/r").var(name, value);
        let ended = fetch.run();
        ended.expect(Exit::InvalidSource);
        assert!(!fetch.root().exists(), "{name}={value}");
    }
}

#[test]
fn what_the_policy_forbids_is_11() {
    for (name, value) in [
        ("WORKFLOW_GIT_URL", "ftp://h/r"),
        ("WORKFLOW_GIT_URL", "http://h/r"),
        ("WORKFLOW_ALLOWED_SCHEMES", "ssh"),
        ("WORKFLOW_ALLOWED_HOSTS", "github.com"),
    ] {
        let ended = Fetch::untrusting("https://h/r").var(name, value).run();
        ended.expect(Exit::HostNotAllowed);
        assert_eq!(ended.details().attempts, None, "{name}={value}");
    }
}

#[test]
fn refused_access_is_20_and_names_what_was_tried() {
    let server = GitServer::start(&Settings::default().password("private", "user", "word")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let none = Fetch::new(&server, repository.url()).run();
    let message = none.expect(Exit::AuthenticationFailed);
    assert!(message.contains("does not exist or needs credentials"), "{message}");
    let wrong = repository.url().replace("://", "://user:wr0ngs3cret@");
    let ended = Fetch::new(&server, &wrong).run();
    let message = ended.expect(Exit::AuthenticationFailed);
    assert!(message.contains("tried: the URL's own user name and password"), "{message}");
    assert_eq!(ended.details().url.as_deref(), Some(repository.url()));
    assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
}

#[test]
fn a_missing_repository_is_21() {
    let server = server();
    let ended = Fetch::new(&server, &server.url("acme/none.git")).run();
    assert!(ended.expect(Exit::RepositoryNotFound).contains("check the URL"));
}

#[test]
fn a_missing_branch_is_22_and_close_ones_are_named() {
    let server = server();
    let repository = repository(&server);
    for (branch, said) in [
        ("realease-1.0", "did you mean `release-1.0`?"),
        ("zzz", "the default branch is `main`"),
        (&"0123456789".repeat(4), "the server has no commit"),
    ] {
        for path in ["", "flows"] {
            let fetch = Fetch::new(&server, repository.url()).branch(branch).path(path);
            let ended = fetch.run();
            let message = ended.expect(Exit::RefNotFound);
            assert!(message.contains(said), "{message}");
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        }
    }
    let empty = server.repository("empty").create().unwrap();
    let ended = Fetch::new(&server, empty.url()).run();
    assert!(ended.expect(Exit::RefNotFound).contains("the repository is empty"));
}

#[test]
fn a_tag_that_leads_to_no_commit_is_22() {
    let server = server();
    let repository = repository(&server);
    repository.git(&["tag", "odd", "main^{tree}"]).unwrap();
    let ended = Fetch::new(&server, repository.url()).branch("odd").run();
    assert!(ended.expect(Exit::RefNotFound).contains("leads to no commit"));
}

#[test]
fn a_missing_directory_is_23_and_close_ones_are_named() {
    let server = server();
    let repository = repository(&server);
    for (path, said) in [
        ("flow/review", "did you mean `flows`?"),
        ("flows/revew", "did you mean `review`?"),
        ("README.md", "not a directory but a file"),
        ("link", "not a directory but a symlink"),
    ] {
        let fetch = Fetch::new(&server, repository.url()).path(path);
        let ended = fetch.run();
        assert!(ended.expect(Exit::PathNotFound).contains(said), "{}", ended.message);
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
    }
}
