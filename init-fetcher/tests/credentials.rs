//! Credentials go to exactly the hosts that they are for, in order, each once, and show nowhere.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use common::fronts::behind_fronts;
use common::{Fetch, of_disk, of_git};
use workflow_contract::Exit;
use workflow_git_server::{Certificate, Fault, Front, GitServer, Phase, Repository, Settings, When};

fn private() -> GitServer {
    GitServer::start(&Settings::default().password("private", "user", "w0rds3cret")).unwrap()
}

/// A Secret as the kubelet mounts it.
fn secret(fetch: &Fetch, keys: &[(&str, &str)]) -> String {
    let dir = fetch.dir.path().join("secret");
    fs::create_dir_all(&dir).unwrap();
    for (key, value) in keys {
        fs::write(dir.join(key), value).unwrap();
    }
    dir.to_string_lossy().into_owned()
}

fn assert_hidden(ended: &common::Ended) {
    assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[test]
fn the_urls_own_credential_is_used_and_is_not_delivered() {
    let server = private();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::new(&server, &repository.url().replace("://", "://user:w0rds3cret@"));
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
    let config = fs::read_to_string(fetch.root().join("flow/.git/config")).unwrap();
    assert!(config.contains(repository.url()) && !config.contains("s3cret"), "{config}");
}

#[test]
fn the_secrets_credential_is_used_for_its_hosts_with_trailing_newlines_trimmed() {
    let server = private();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::new(&server, repository.url());
    let dir = secret(
        &fetch,
        &[("username", "user\n"), ("password", "w0rds3cret\n"), ("hosts", "x.y, 127.0.0.1\n")],
    );
    let fetch = fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir);
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", ""));
}

#[test]
fn a_secret_without_hosts_is_not_used_and_that_is_said() {
    let server = private();
    let open = server.repository("open/flow").file("a", "1").create().unwrap();
    let closed = server.repository("private/flow").file("a", "1").create().unwrap();
    for (url, exit) in [(open.url(), Exit::Reconciled), (closed.url(), Exit::AuthenticationFailed)] {
        let fetch = Fetch::new(&server, url);
        let dir = secret(&fetch, &[("username", "user"), ("password", "w0rds3cret")]);
        let ended = fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir).run();
        assert!(ended.expect(exit).contains("it has no key `hosts`"), "{}", ended.message);
        assert_hidden(&ended);
    }
}

#[test]
fn the_authority_in_the_secret_is_trusted() {
    let server = private();
    let repository = server.repository("open/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::untrusting(repository.url());
    let dir = secret(&fetch, &[("ca.crt", server.ca_pem())]);
    fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir).run().expect(Exit::Reconciled);
}

#[test]
fn a_credential_that_is_refused_is_followed_by_the_next() {
    let server =
        GitServer::start(&Settings::default().password("private", "x-access-token", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::new(&server, &repository.url().replace("://", "://me:wr0ngs3cret@"))
        .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
        .var("GITHUB_TOKEN", "t0kens3cret");
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
}

#[test]
fn a_token_is_for_its_hosts_and_nowhere_else() {
    let server =
        GitServer::start(&Settings::default().password("private", "x-access-token", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let ended = Fetch::new(&server, repository.url()).var("GITHUB_TOKEN", "t0kens3cret").run();
    assert!(ended.expect(Exit::AuthenticationFailed).contains("no credential is set for this host"));
}

/// A plain HTTP server that records every request and gives these answers in turn, the last for all that follow.
fn recorder(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            record.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(answers[number.min(answers.len() - 1)].as_bytes());
        }
    });
    (address, seen)
}

/// The platform's answer with a token.
const TOKEN: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 23\r\nConnection: close\r\n\r\n{\"token\":\"t0kens3cret\"}";
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A run that may ask the platform at this address.
fn with_platform(server: &GitServer, repository: &Repository, address: &str) -> Fetch {
    Fetch::new(server, repository.url())
        .var("WORKFLOW_GITLAB_HOSTS", "127.0.0.1")
        .var("BACKEND_API_URL", &format!("http://{address}/api"))
        .var("PROJECT_NAME", "proj")
        .var("SESSION_NAME", "sess")
        .var("BOT_TOKEN", "b0ts3cret")
}

#[test]
fn the_platform_is_asked_where_a_host_wants_a_token_and_none_is_set() {
    let server = GitServer::start(&Settings::default().password("private", "oauth2", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let open = server.repository("open/flow").file("a", "1").create().unwrap();
    let (address, seen) = recorder(&[TOKEN]);
    with_platform(&server, &open, &address).run().expect(Exit::Reconciled);
    assert!(seen.lock().unwrap().is_empty(), "not asked where the host wants none");
    let ended = with_platform(&server, &repository, &address).run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
    let requests = seen.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0]
            .starts_with("GET /api/projects/proj/agentic-sessions/sess/credentials/gitlab HTTP/1.1\r\n")
    );
    assert!(requests[0].to_lowercase().contains("authorization: bearer b0ts3cret\r\n"));
}

#[test]
fn requests_the_platforms_token_without_a_proxy() {
    let server = GitServer::start(&Settings::default().password("private", "oauth2", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let (address, seen) = recorder(&[TOKEN]);
    let (proxy, through_proxy) = recorder(&[UNAVAILABLE]);
    let ended =
        with_platform(&server, &repository, &address).var("HTTP_PROXY", &format!("http://{proxy}")).run();
    ended.expect(Exit::Reconciled);
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert!(through_proxy.lock().unwrap().is_empty());
}

#[test]
fn a_platform_that_has_or_gives_no_token_leaves_the_run_without() {
    let server = private();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], "which has no token"),
        (
            &["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            "could not be asked for a token (it answered 401)",
        ),
        (
            &["HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            "could not be asked for a token (it answered 403)",
        ),
    ];
    for (answers, said) in cases {
        let (address, seen) = recorder(answers);
        let ended = with_platform(&server, &repository, &address).run();
        assert!(ended.expect(Exit::AuthenticationFailed).contains(said), "{}", ended.message);
        assert_eq!((ended.details().attempts, seen.lock().unwrap().len()), (Some(1), 1), "asked once");
        assert_hidden(&ended);
    }
}

#[test]
fn a_platform_that_is_not_available_for_now_is_asked_again() {
    let server = GitServer::start(&Settings::default().password("private", "oauth2", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let (address, seen) = recorder(&[UNAVAILABLE, TOKEN]);
    let ended = with_platform(&server, &repository, &address).run();
    ended.expect(Exit::Reconciled);
    assert_eq!((ended.details().attempts, seen.lock().unwrap().len()), (Some(2), 2));
    assert_hidden(&ended);
}

#[test]
fn a_server_that_says_403_is_given_what_credentials_there_are_each_once() {
    let (server, repository) = behind_fronts();
    let with_token = |front: &Front, url: &str| {
        Fetch::trusting(front.ca_file(), url)
            .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
            .var("GITHUB_TOKEN", "t0kens3cret")
    };
    let credentials = |front: &Front| {
        front
            .requests()
            .iter()
            .map(|head| head.to_lowercase().contains("authorization: "))
            .collect::<Vec<_>>()
    };
    for (phase, sent) in
        [(Phase::Listing, [false, true, true, true]), (Phase::Pack, [false, false, false, true])]
    {
        let faults = vec![(phase, When::WithoutCredential, Fault::status(403))];
        let front = Front::start(&server, Certificate::Good, faults).unwrap();
        let ended = with_token(&front, &front.url(repository.url())).run();
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(1));
        assert_eq!(credentials(&front), sent);
        assert_eq!(front.faults(), 1);
        assert_hidden(&ended);
    }
    let never = vec![(Phase::Listing, When::Always, Fault::status(403))];
    let front = Front::start(&server, Certificate::Good, never).unwrap();
    let url = front.url(repository.url()).replace("://", "://me:pws3cret@");
    let ended = with_token(&front, &url).run();
    let message = ended.expect(Exit::AuthenticationFailed);
    let tried = "it answered 403; tried: the URL's own user name and password, GITHUB_TOKEN";
    assert!(message.contains(tried), "{message}");
    assert_eq!(credentials(&front), [true, true]);
    assert_hidden(&ended);
}

#[test]
fn nothing_secret_goes_over_plain_http() {
    let (address, seen) =
        recorder(&["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let fetch = Fetch::untrusting(&format!("http://me:pws3cret@{address}/o/r"))
        .var("WORKFLOW_ALLOWED_SCHEMES", "http")
        .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
        .var("GITHUB_TOKEN", "t0kens3cret");
    let ended = fetch.run();
    assert!(ended.expect(Exit::AuthenticationFailed).contains("never sent over plain http"));
    let requests = seen.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].to_lowercase().contains("authorization"), "{}", requests[0]);
}

#[test]
fn nothing_secret_follows_a_redirect_to_another_port() {
    let elsewhere = private();
    let target = elsewhere.repository("private/flow").file("a", "1").create().unwrap();
    let location = format!("{}/info/refs?service=git-upload-pack", target.url());
    let settings = Settings::default().answer("moved", 301, &[("Location", &location)], "");
    let server = GitServer::start(&settings).unwrap();
    let fetch = Fetch::new(&server, &server.url("moved/flow").replace("://", "://user:w0rds3cret@"));
    let both = format!("{}{}", server.ca_pem(), elsewhere.ca_pem());
    let bundle = fetch.dir.path().join("bundle");
    fs::write(&bundle, both).unwrap();
    let fetch = fetch.var("SSL_CERT_FILE", &bundle.to_string_lossy());
    let ended = fetch.run();
    // The right password was there, but not for this place.
    let message = ended.expect(Exit::AuthenticationFailed);
    assert!(message.contains("redirected"), "{message}");
    assert_hidden(&ended);
}

#[test]
fn a_redirect_elsewhere_is_followed_without_credentials() {
    let elsewhere = private();
    let target = elsewhere.repository("open/flow").file("a", "1").create().unwrap();
    let location = format!("{}/info/refs?service=git-upload-pack", target.url());
    let settings = Settings::default().answer("moved", 302, &[("Location", &location)], "");
    let server = GitServer::start(&settings).unwrap();
    let fetch = Fetch::new(&server, &server.url("moved/flow"));
    let bundle = fetch.dir.path().join("bundle");
    fs::write(&bundle, format!("{}{}", server.ca_pem(), elsewhere.ca_pem())).unwrap();
    let fetch = fetch.var("SSL_CERT_FILE", &bundle.to_string_lossy());
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&target, "main", ""));
}
