//! Requests that cannot be met: each has its exit code, a message with the remedy, and leaves
//! nothing behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::{Fetch, repository, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Settings};

#[test]
fn rejects_malformed_settings() {
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
fn denies_sources_outside_the_policy() {
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
fn names_credentials_tried_if_access_is_denied() {
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
fn reports_missing_repository() {
    let server = server();
    let ended = Fetch::new(&server, &server.url("acme/none.git")).run();
    assert!(ended.expect(Exit::RepositoryNotFound).contains("check the URL"));
}

#[test]
fn suggests_branches_for_a_missing_one() {
    let server = server();
    let repository = repository(&server);
    for (branch, expected) in [
        ("realease-1.0", "did you mean `release-1.0`?"),
        ("zzz", "the default branch is `main`"),
        (&"0123456789".repeat(4), "the server has no commit"),
    ] {
        for path in ["", "flows"] {
            let fetch = Fetch::new(&server, repository.url()).branch(branch).path(path);
            let ended = fetch.run();
            let message = ended.expect(Exit::RefNotFound);
            assert!(message.contains(expected), "{message}");
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        }
    }
    let empty = server.repository("empty").create().unwrap();
    let ended = Fetch::new(&server, empty.url()).run();
    assert!(ended.expect(Exit::RefNotFound).contains("the repository is empty"));
}

#[test]
fn rejects_tag_that_leads_to_no_commit() {
    let server = server();
    let repository = repository(&server);
    repository.git(&["tag", "odd", "main^{tree}"]).unwrap();
    let ended = Fetch::new(&server, repository.url()).branch("odd").run();
    assert!(ended.expect(Exit::RefNotFound).contains("leads to no commit"));
}

#[test]
fn suggests_directories_for_a_missing_one() {
    let server = server();
    let repository = repository(&server);
    for (path, expected) in [
        ("flow/review", "did you mean `flows`?"),
        ("flows/revew", "did you mean `review`?"),
        ("README.md", "not a directory but a file"),
        ("link", "not a directory but a symlink"),
    ] {
        let fetch = Fetch::new(&server, repository.url()).path(path);
        let ended = fetch.run();
        assert!(ended.expect(Exit::PathNotFound).contains(expected), "{}", ended.message);
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
    }
}
