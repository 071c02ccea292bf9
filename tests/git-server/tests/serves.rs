//! The server is what it claims to be: checked with git itself as the client.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use workflow_git_server::{GitServer, Profile, Settings};

/// Runs git as a client without anything of the user's configuration.
fn client(server: &GitServer, args: &[&str]) -> Output {
    Command::new("git")
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_TRACE_PACKET", "1")
        .env("GIT_SSL_CAINFO", server.ca_file())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_user(url: &str, userinfo: &str) -> String {
    url.replacen("://", &format!("://{userinfo}@"), 1)
}

#[test]
fn clones_with_modes_links_and_history() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let repository = server
        .repository("acme/flow")
        .file("docs/with space.md", "hello\n")
        .executable("run.sh", "#!/bin/sh\n")
        .symlink("latest", "docs")
        .tag("v1")
        .remove("docs")
        .branch("dev")
        .file("dev.txt", "")
        .create()
        .unwrap();
    let target = tempfile::tempdir().unwrap();
    let into = target.path().join("clone");
    let output = client(&server, &["clone", "--branch", "v1", repository.url(), &into.to_string_lossy()]);

    assert!(output.status.success(), "{}\n{}", stderr(&output), server.log());
    assert_eq!(std::fs::read_to_string(into.join("docs/with space.md")).unwrap(), "hello\n");
    assert_eq!(std::fs::read_link(into.join("latest")).unwrap(), Path::new("docs"));
    let tree = repository.git(&["ls-tree", "-r", "--name-only", "dev"]).unwrap();
    assert_eq!(tree, "dev.txt\nlatest\nrun.sh\n");
    assert!(repository.git(&["ls-tree", "v1", "run.sh"]).unwrap().starts_with("100755 blob "));
}

#[test]
fn same_steps_give_the_same_commit() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let make = |name: &str| server.repository(name).file("a", "1").create().unwrap().commit("main").unwrap();
    assert_eq!(make("one"), make("two"));
}

#[test]
fn extending_moves_the_branch_on() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let repository = server.repository("flow").file("a", "1").create().unwrap();
    let before = repository.commit("main").unwrap();
    repository.extend("main").file("b", "2").create().unwrap();
    assert_eq!(repository.commit("main^").unwrap(), before);
}

#[test]
fn client_without_the_ca_certificate_rejects_the_server() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let other = GitServer::start(&Settings::default()).unwrap();
    let repository = server.repository("flow").file("a", "1").create().unwrap();
    let output = client(&other, &["ls-remote", repository.url()]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("certificate"), "{}", stderr(&output));
}

#[test]
fn reports_missing_repository() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let output = client(&server, &["ls-remote", &server.url("acme/none.git")]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("not found"), "{}", stderr(&output));
}

#[test]
fn demands_password_for_directory() {
    let server = GitServer::start(&Settings::default().password("private", "user", "word")).unwrap();
    let secret = server.repository("private/flow").file("a", "1").create().unwrap();
    let open = server.repository("open/flow").file("a", "1").create().unwrap();

    assert!(client(&server, &["ls-remote", open.url()]).status.success());
    assert!(client(&server, &["ls-remote", &with_user(secret.url(), "user:word")]).status.success());
    let wrong = client(&server, &["ls-remote", &with_user(secret.url(), "user:guess")]);
    assert!(stderr(&wrong).contains("Authentication failed"), "{}", stderr(&wrong));
    assert!(!client(&server, &["ls-remote", secret.url()]).status.success());
}

#[test]
fn speaks_protocol_v2_except_in_a_v0_directory() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for (name, is_v2) in [("flow", true), ("v0/flow", false)] {
        let repository = server.repository(name).file("a", "1").create().unwrap();
        let output = client(&server, &["ls-remote", repository.url()]);
        assert!(output.status.success());
        assert_eq!(stderr(&output).contains("git< version 2"), is_v2, "{name}: {}", stderr(&output));
    }
}

#[test]
fn profiles_differ_in_the_filters_they_accept() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let fetch = |profile: Profile, filter: &str| {
        let name = format!("{profile:?}").to_lowercase();
        let repository = server.repository(&name).profile(profile).file("a/b", "1").create().unwrap();
        let target = tempfile::tempdir().unwrap();
        let into = target.path().join("clone");
        let filter = format!("--filter={filter}");
        client(&server, &["clone", "--bare", &filter, repository.url(), &into.to_string_lossy()])
    };
    assert!(fetch(Profile::Filters, "tree:1").status.success());
    let denied = fetch(Profile::GithubLike, "tree:1");
    assert!(stderr(&denied).contains("tree filter allows max depth 0"), "{}", stderr(&denied));
    assert!(fetch(Profile::GithubLike, "tree:0").status.success());
    assert!(fetch(Profile::GithubLike, "blob:none").status.success());
    let combined = fetch(Profile::GithubLike, "combine:blob:none+tree:0");
    assert!(stderr(&combined).contains("filter 'combine' not supported"), "{}", stderr(&combined));
    let ignored = fetch(Profile::NoFilters, "blob:none");
    assert!(stderr(&ignored).contains("filtering not recognized by server"), "{}", stderr(&ignored));
}

#[test]
fn serves_other_responses_than_git() {
    let server = GitServer::start(&Settings::default().response("busy", 503, &[], "busy\n")).unwrap();
    let output = client(&server, &["ls-remote", &server.url("busy/flow.git")]);
    assert!(stderr(&output).contains("returned error: 503"), "{}", stderr(&output));
}

#[test]
fn serves_plain_http() {
    let server = GitServer::start(&Settings::default().plain_http()).unwrap();
    let repository = server.repository("flow").file("a", "1").create().unwrap();
    assert!(repository.url().starts_with("http://"));
    assert!(client(&server, &["ls-remote", repository.url()]).status.success());
}

#[test]
fn dropping_the_server_closes_its_port() {
    let server = GitServer::start(&Settings::default()).unwrap();
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

/// Set for the process that the next test starts from its own binary and kills.
const SERVE_UNTIL_KILLED: &str = "SERVE_UNTIL_KILLED";

#[test]
fn ends_with_its_process() {
    if std::env::var_os(SERVE_UNTIL_KILLED).is_some() {
        let server = GitServer::start(&Settings::default()).unwrap();
        println!("\nserving {}", server.address());
        loop {
            std::thread::park();
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ends_with_its_process", "--nocapture"])
        .env(SERVE_UNTIL_KILLED, "1")
        // A killed process cannot remove its repositories: keep them in this test's directory.
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let address: SocketAddr = BufReader::new(process.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("serving ").map(str::to_owned))
        .unwrap()
        .parse()
        .unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    process.kill().unwrap();
    process.wait().unwrap();

    // The server's end closes the connection, with or without a reset; a server that lives lets the read time out.
    let ended = connection.read(&mut [0]);
    assert!(
        matches!(&ended, Ok(0)) || matches!(&ended, Err(error) if error.kind() == ErrorKind::ConnectionReset),
        "{ended:?}"
    );
}
