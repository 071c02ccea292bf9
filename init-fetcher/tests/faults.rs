//! Servers and networks that fail, and being told to end: each in its exit code, in time.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{Fetch, repository, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Settings};

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
