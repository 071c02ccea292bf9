//! Every way to fail has its exit code, a sentence that says what to do, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use common::{Fetch, git, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Repository, Settings};

fn repository(server: &GitServer) -> Repository {
    server
        .repository("acme/flow")
        .file("README.md", "# Flow\n")
        .file("flows/review/prompt.md", "x\n")
        .symlink("link", "flows")
        .branch("release-1.0")
        .create()
        .unwrap()
}

/// A server that answers each connection by what `answer` does with it, for as long as the test runs.
fn listener(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
    address.to_string()
}

/// Reads a request's head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn plain(fetch: Fetch) -> Fetch {
    fetch.var("WORKFLOW_ALLOWED_SCHEMES", "https,http")
}

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
        ("WORKFLOW_GIT_URL", "ssh://git@h/r"),
        ("WORKFLOW_ALLOWED_HOSTS", "github.com"),
    ] {
        let ended = Fetch::untrusting("https://h/r").var(name, value).run();
        ended.expect(Exit::HostNotAllowed);
        assert_eq!(ended.details().attempts, None, "{name}={value}");
    }
}

#[test]
fn a_redirect_to_where_the_policy_forbids_is_11() {
    let settings = Settings::default().answer("gone", 302, &[("Location", "https://localhost:1/x")], "");
    let server = GitServer::start(&settings).unwrap();
    let fetch = Fetch::new(&server, &server.url("gone/r")).var("WORKFLOW_ALLOWED_HOSTS", "127.0.0.1");
    assert!(fetch.run().expect(Exit::HostNotAllowed).contains("redirects to https://localhost:1/x"));
    let down = Settings::default().answer("down", 301, &[("Location", "http://127.0.0.1/x")], "");
    let server = GitServer::start(&down).unwrap();
    Fetch::new(&server, &server.url("down/r")).run().expect(Exit::HostNotAllowed);
}

#[test]
fn redirects_in_a_loop_are_33() {
    let settings = Settings::default().answer("loop", 302, &[("Location", "?service=git-upload-pack")], "");
    let server = GitServer::start(&settings).unwrap();
    Fetch::new(&server, &server.url("loop/r")).run().expect(Exit::ServerError);
}

#[test]
fn refused_access_is_20_and_names_what_was_tried() {
    let server = GitServer::start(&Settings::default().password("private", "user", "word")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let none = Fetch::new(&server, repository.url()).run();
    let sentence = none.expect(Exit::AuthenticationFailed);
    assert!(sentence.contains("does not exist or needs credentials"), "{sentence}");
    let wrong = repository.url().replace("://", "://user:wr0ngs3cret@");
    let ended = Fetch::new(&server, &wrong).run();
    let sentence = ended.expect(Exit::AuthenticationFailed);
    assert!(sentence.contains("tried: the URL's own user name and password"), "{sentence}");
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
            let sentence = ended.expect(Exit::RefNotFound);
            assert!(sentence.contains(said), "{sentence}");
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
fn a_missing_folder_is_23_and_close_ones_are_named() {
    let server = server();
    let repository = repository(&server);
    for (path, said) in [
        ("flow/review", "did you mean `flows`?"),
        ("flows/revew", "did you mean `review`?"),
        ("README.md", "not a folder but a file"),
        ("link", "not a folder but a symlink"),
    ] {
        let fetch = Fetch::new(&server, repository.url()).path(path);
        let ended = fetch.run();
        assert!(ended.expect(Exit::PathNotFound).contains(said), "{}", ended.message);
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
    }
}

#[test]
fn a_server_that_is_not_there_is_30_after_retries() {
    // A port that was free a moment ago, and a name that never resolves (RFC 6761).
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused =
        Fetch::untrusting(&format!("https://127.0.0.1:{port}/r")).var("WORKFLOW_TIMEOUT", "60s").run();
    let sentence = refused.expect(Exit::ServerUnreachable);
    assert!(sentence.contains("connection refused (after 5 attempts)"), "{sentence}");
    let unresolved = Fetch::untrusting("https://no-such-host.invalid/r").run();
    let sentence = unresolved.expect(Exit::ServerUnreachable);
    assert!(sentence.contains("does not resolve") && sentence.contains("2 attempts"), "{sentence}");
}

#[test]
fn between_attempts_the_time_limit_ends_in_the_last_failure() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fetch = Fetch::untrusting(&format!("https://127.0.0.1:{port}/r")).var("WORKFLOW_TIMEOUT", "1500ms");
    let ended = fetch.run();
    ended.expect(Exit::ServerUnreachable);
    assert_eq!(fetch.residue(&[]), Vec::<String>::new());
}

#[test]
fn a_certificate_that_is_not_trusted_is_31() {
    let server = server();
    let repository = repository(&server);
    let ended = Fetch::untrusting(repository.url()).run();
    let sentence = ended.expect(Exit::TlsFailed);
    assert!(sentence.contains("not trusted") && sentence.contains("ca.crt"), "{sentence}");
    assert_eq!(ended.details().attempts, Some(1));
}

#[test]
fn a_certificate_for_another_name_is_31() {
    let server = GitServer::start(&Settings::on("127.0.0.2".parse().unwrap())).unwrap();
    let repository = repository(&server);
    // The same server under an address that its certificate does not name.
    let address = server.address();
    let forward = listener(move |mut from| {
        let mut to = TcpStream::connect(address).unwrap();
        let (mut back, mut forth) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back, &mut forth));
        let _ = std::io::copy(&mut from, &mut to);
    });
    Fetch::new(&server, repository.url()).run().expect(Exit::Reconciled);
    let url = repository.url().replace(&address.to_string(), &forward);
    let ended = Fetch::new(&server, &url).run();
    let sentence = ended.expect(Exit::TlsFailed);
    assert!(sentence.contains(&format!("its certificate is not for {forward}")), "{sentence}");
}

#[test]
fn a_server_that_fails_is_33_after_retries() {
    let settings = Settings::default()
        .answer("busy", 503, &[("Retry-After", "0"), ("Content-Type", "text/plain")], "come back\nlater\n")
        .answer("late", 429, &[("Retry-After", "3600")], "")
        .answer("html", 200, &[("Content-Type", "text/html")], "<html>")
        .answer(
            "broken",
            200,
            &[("Content-Type", "application/x-git-upload-pack-advertisement")],
            "<html>not git</html>",
        );
    let server = GitServer::start(&settings).unwrap();
    for (folder, attempts, said) in [
        ("busy", 5, r"answered 503: come back\nlater"),
        ("late", 1, "answered 429"),
        ("html", 1, "does not answer as a git server: it sent text/html"),
        ("broken", 5, "can't be understood"),
    ] {
        let ended = Fetch::new(&server, &server.url(&format!("{folder}/r"))).run();
        let sentence = ended.expect(Exit::ServerError);
        assert!(sentence.contains(said), "{sentence}");
        assert_eq!(ended.details().attempts, Some(attempts), "{folder}");
    }
}

#[test]
fn a_server_that_says_nothing_is_34_at_the_time_limit() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e#",
    ] {
        let address = listener(move |mut stream| {
            head(&mut stream);
            let _ = stream.write_all(bytes);
            // Until the client goes away.
            let _ = stream.read(&mut [0]);
        });
        let fetch = plain(Fetch::untrusting(&format!("http://{address}/r"))).var("WORKFLOW_TIMEOUT", "1s");
        let ended = fetch.run();
        let sentence = ended.expect(Exit::Timeout);
        assert!(sentence.contains("the time limit of 1 s"), "{sentence}");
        assert_eq!(fetch.residue(&[]), Vec::<String>::new());
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

/// Puts a tree made of these `mktree` lines (with `BLOB` for some blob) on `main`.
fn hostile(repository: &Repository, lines: &[&str]) {
    let run = |args: &[&str], input: &str| {
        let mut command = git(Some(repository.path()));
        let mut child = command
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let blob = run(&["hash-object", "-w", "--stdin"], "../../../etc/passwd");
    let empty = run(&["mktree"], "");
    let input: String =
        lines.iter().map(|line| line.replace("BLOB", &blob).replace("TREE", &empty) + "\n").collect();
    let tree = run(&["mktree"], &input);
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
fn a_volume_that_refuses_is_51_and_names_owner_and_mode() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url()).var("WORKFLOW_ROOT", "/proc/nothing/here");
    let ended = fetch.run();
    let sentence = ended.expect(Exit::VolumeNotWritable);
    assert!(sentence.contains("/proc belongs to 0:0 with mode 0555"), "{sentence}");
}

#[test]
fn sigterm_ends_it_within_a_second_and_leaves_nothing() {
    let server = server();
    let repository = repository(&server);
    let first = Fetch::new(&server, repository.url());
    let address = listener(|mut stream| {
        head(&mut stream);
        let _ = stream.read(&mut [0]);
    });
    let fetch = plain(first).var("WORKFLOW_GIT_URL", &format!("http://{address}/acme/flow"));
    let mut child = fetch.spawn();
    let staged = Instant::now();
    while fetch.residue(&[]).is_empty() {
        assert!(staged.elapsed() < Duration::from_secs(20), "it never began");
        thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    let told = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(told.elapsed() < Duration::from_secs(5));
    assert_eq!(fetch.residue(&[]), Vec::<String>::new());
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
