//! Credentials are sent to their hosts only, in order, each once, and appear in no message.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use common::fault_proxies::plain_http_server;
use common::{Fetch, of_disk, of_git};
use workflow_contract::Exit;
use workflow_git_server::{Certificate, Fault, FaultProxy, GitServer, Phase, Repository, Settings, When};

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
fn uses_credential_of_the_url_and_does_not_deliver_it() {
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
fn uses_credential_of_the_secret_for_its_hosts() {
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
fn names_secret_that_is_unused_for_lack_of_hosts() {
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
fn trusts_ca_of_the_secret() {
    let server = private();
    let repository = server.repository("open/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::untrusting(repository.url());
    let dir = secret(&fetch, &[("ca.crt", server.ca_pem())]);
    fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir).run().expect(Exit::Reconciled);
}

#[test]
fn rejects_file_without_a_certificate_if_the_run_needs_it() {
    let server = private();
    let repository = server.repository("open/flow").file("a", "1").create().unwrap();
    for variable in ["SSL_CERT_FILE", "ca.crt"] {
        let fetch = Fetch::new(&server, repository.url());
        let dir = secret(&fetch, &[("ca.crt", "nothing")]);
        let file = format!("{dir}/ca.crt");
        let fetch = match variable {
            "ca.crt" => fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir),
            variable => fetch.var(variable, &file),
        };
        let ended = fetch.run();
        let message = ended.expect(Exit::InvalidSource);
        assert!(message.contains(&format!("{file}: it contains no certificate")), "{message}");
    }
    let ssh = common::ssh::Ssh::start(true);
    let fetch = ssh.fetch(&repository).var("SSL_CERT_FILE", "/dev/null");
    ssh.run(&fetch).expect(Exit::Reconciled);
}

#[test]
fn tries_the_next_credential_after_a_denied_one() {
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

/// Runs through a proxy with this fault; returns the run and, for each request, its `Authorization` header or "none".
fn through(
    fault: (When, Fault),
    fetch: impl FnOnce(&str, &FaultProxy) -> Fetch,
) -> (common::Ended, Vec<String>) {
    let (server, repository) = plain_http_server();
    let proxy =
        FaultProxy::start(&server, Certificate::Good, vec![(Phase::Listing, fault.0, fault.1)]).unwrap();
    let ended = fetch(&proxy.url(repository.url()), &proxy).run();
    assert_hidden(&ended);
    let header = |head: &String| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with("authorization: "));
        line.map_or("none", |line| &line["authorization: ".len()..]).to_owned()
    };
    (ended, proxy.requests().iter().map(header).collect())
}

fn with_token(url: &str, proxy: &FaultProxy) -> Fetch {
    Fetch::trusting(proxy.ca_file(), url)
        .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
        .var("GITHUB_TOKEN", "t0kens3cret")
}

#[test]
fn delivers_public_repository_despite_stale_credential_in_its_url() {
    for status in [401, 403, 404] {
        let (ended, headers) = through((When::WithCredential, Fault::status(status)), |url, proxy| {
            Fetch::trusting(proxy.ca_file(), &url.replace("://", "://alice:0lds3cret@"))
        });
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(1));
        assert!(
            headers[0].starts_with("Basic ") && headers[1..].iter().all(|header| header == "none"),
            "{headers:?}"
        );
    }
}

#[test]
fn never_sends_user_name_alone() {
    let (ended, headers) = through((When::First(0), Fault::status(500)), |url, proxy| {
        Fetch::trusting(proxy.ca_file(), &url.replace("://", "://alice@"))
    });
    ended.expect(Exit::Reconciled);
    assert!(headers.iter().all(|header| header == "none"), "{headers:?}");
}

#[test]
fn combines_user_name_of_the_url_with_password_of_the_secret() {
    let server = private();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let fetch = Fetch::new(&server, &repository.url().replace("://", "://user@"));
    let dir = secret(&fetch, &[("username", "other"), ("password", "w0rds3cret"), ("hosts", "127.0.0.1")]);
    let ended = fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir).run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
}

#[test]
fn uses_token_if_anonymous_requests_are_limited_or_hidden() {
    let err = "0051ERR unauthenticated downloads are limited for this repository; please sign in\n";
    let limited = Fault::Response(
        200,
        vec![("Content-Type", "application/x-git-upload-pack-advertisement".to_owned())],
        format!("{:04x}{}", err.len(), &err[4..]),
    );
    for fault in [Fault::status(429), Fault::status(404), limited] {
        let shown = format!("{fault:?}");
        let (ended, headers) = through((When::WithoutCredential, fault), with_token);
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(1), "{shown}");
        assert!(headers[0] == "none" && headers[1].starts_with("Basic "), "{shown}: {headers:?}");
    }
}

#[test]
fn names_credential_that_may_lack_access_to_missing_repository() {
    let (ended, headers) = through((When::Always, Fault::status(404)), with_token);
    let message = ended.expect(Exit::RepositoryNotFound);
    assert!(message.contains("or the credential tried (GITHUB_TOKEN) may not see it"), "{message}");
    assert_eq!(headers.len(), 2);
    let (ended, _) =
        through((When::Always, Fault::status(404)), |url, proxy| Fetch::trusting(proxy.ca_file(), url));
    assert!(!ended.expect(Exit::RepositoryNotFound).contains("may not see it"));
}

#[test]
fn sends_bearer_token_of_the_secret_to_its_hosts() {
    let (ended, headers) = through((When::WithoutCredential, Fault::status(401)), |url, proxy| {
        let fetch = Fetch::trusting(proxy.ca_file(), url);
        let dir = secret(&fetch, &[("bearerToken", "b3arers3cret\n"), ("hosts", "127.0.0.1")]);
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir)
    });
    ended.expect(Exit::Reconciled);
    assert_eq!(headers[..2], ["none", "Bearer b3arers3cret"]);
}

#[test]
fn names_schemes_that_the_server_offers() {
    let offer =
        |value: &str| Fault::Response(401, vec![("WWW-Authenticate", value.to_owned())], String::new());
    for (value, expected) in [
        (
            "Digest realm=\"a, b\", qop=\"auth\", Negotiate",
            "it offers only Digest, Negotiate, which is not supported",
        ),
        ("Basic realm=\"git\"", "it offers Basic"),
    ] {
        let (ended, _) = through((When::Always, offer(value)), with_token);
        let message = ended.expect(Exit::AuthenticationFailed);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn rejects_malformed_client_certificate() {
    let (ended, headers) = through((When::Always, Fault::status(500)), |url, proxy| {
        let fetch = Fetch::trusting(proxy.ca_file(), url);
        let dir = secret(&fetch, &[("tls.crt", "nonsense"), ("tls.key", "s3cret"), ("hosts", "127.0.0.1")]);
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir)
    });
    assert!(
        ended.expect(Exit::InvalidSource).contains("tls.crt and tls.key of the Secret"),
        "{}",
        ended.message
    );
    assert!(headers.is_empty());
}

#[test]
fn sends_token_to_its_hosts_only() {
    let server =
        GitServer::start(&Settings::default().password("private", "x-access-token", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let ended = Fetch::new(&server, repository.url()).var("GITHUB_TOKEN", "t0kens3cret").run();
    let message = ended.expect(Exit::AuthenticationFailed);
    assert!(message.contains("no credential is set for this host"), "{message}");
    assert!(
        message.contains("GITHUB_TOKEN is set, but not for this host; add the host to githubHosts"),
        "{message}"
    );
}

/// A plain HTTP server that records every request and gives these responses in turn, the last for all that follow.
fn recorder(responses: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&requests);
    thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            record.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(responses[number.min(responses.len() - 1)].as_bytes());
        }
    });
    (address, requests)
}

/// The platform's response with a token.
const TOKEN: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 23\r\nConnection: close\r\n\r\n{\"token\":\"t0kens3cret\"}";
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A run with the platform's token endpoint at this address.
fn with_platform(server: &GitServer, repository: &Repository, address: &str) -> Fetch {
    Fetch::new(server, repository.url())
        .var("WORKFLOW_GITLAB_HOSTS", "127.0.0.1")
        .var("BACKEND_API_URL", &format!("http://{address}/api"))
        .var("PROJECT_NAME", "proj")
        .var("SESSION_NAME", "sess")
        .var("BOT_TOKEN", "b0ts3cret")
}

#[test]
fn requests_token_from_the_platform_if_none_is_set() {
    let server = GitServer::start(&Settings::default().password("private", "oauth2", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let open = server.repository("open/flow").file("a", "1").create().unwrap();
    let (address, requests) = recorder(&[TOKEN]);
    with_platform(&server, &open, &address).run().expect(Exit::Reconciled);
    assert!(requests.lock().unwrap().is_empty(), "not requested where the host needs none");
    let ended = with_platform(&server, &repository, &address).run();
    ended.expect(Exit::Reconciled);
    assert_hidden(&ended);
    let requests = requests.lock().unwrap();
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
    let (address, requests) = recorder(&[TOKEN]);
    let (proxy, through_proxy) = recorder(&[UNAVAILABLE]);
    let ended =
        with_platform(&server, &repository, &address).var("HTTP_PROXY", &format!("http://{proxy}")).run();
    ended.expect(Exit::Reconciled);
    assert_eq!(requests.lock().unwrap().len(), 1);
    assert!(through_proxy.lock().unwrap().is_empty());
}

#[test]
fn continues_without_token_if_the_platform_has_none() {
    let server = private();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], "which has no token"),
        (
            &["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            "could not provide a token (it responded with 401)",
        ),
        (
            &["HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            "could not provide a token (it responded with 403)",
        ),
    ];
    for (responses, expected) in cases {
        let (address, requests) = recorder(responses);
        let ended = with_platform(&server, &repository, &address).run();
        assert!(ended.expect(Exit::AuthenticationFailed).contains(expected), "{}", ended.message);
        assert_eq!(
            (ended.details().attempts, requests.lock().unwrap().len()),
            (Some(1), 1),
            "requested once"
        );
        assert_hidden(&ended);
    }
}

#[test]
fn retries_unavailable_platform() {
    let server = GitServer::start(&Settings::default().password("private", "oauth2", "t0kens3cret")).unwrap();
    let repository = server.repository("private/flow").file("a", "1").create().unwrap();
    let (address, requests) = recorder(&[UNAVAILABLE, TOKEN]);
    let ended = with_platform(&server, &repository, &address).run();
    ended.expect(Exit::Reconciled);
    assert_eq!((ended.details().attempts, requests.lock().unwrap().len()), (Some(2), 2));
    assert_hidden(&ended);
}

#[test]
fn tries_each_credential_once_after_403() {
    let (server, repository) = plain_http_server();
    let with_token = |proxy: &FaultProxy, url: &str| {
        Fetch::trusting(proxy.ca_file(), url)
            .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
            .var("GITHUB_TOKEN", "t0kens3cret")
    };
    let credentials = |proxy: &FaultProxy| {
        proxy
            .requests()
            .iter()
            .map(|head| head.to_lowercase().contains("authorization: "))
            .collect::<Vec<_>>()
    };
    for (phase, sent) in
        [(Phase::Listing, [false, true, true, true]), (Phase::Pack, [false, false, false, true])]
    {
        let faults = vec![(phase, When::WithoutCredential, Fault::status(403))];
        let proxy = FaultProxy::start(&server, Certificate::Good, faults).unwrap();
        let ended = with_token(&proxy, &proxy.url(repository.url())).run();
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(1));
        assert_eq!(credentials(&proxy), sent);
        assert_eq!(proxy.faults(), 1);
        assert_hidden(&ended);
    }
    let never = vec![(Phase::Listing, When::Always, Fault::status(403))];
    let proxy = FaultProxy::start(&server, Certificate::Good, never).unwrap();
    let url = proxy.url(repository.url()).replace("://", "://me:pws3cret@");
    let ended = with_token(&proxy, &url).run();
    let message = ended.expect(Exit::AuthenticationFailed);
    let tried =
        "it responded with 403; tried: the URL's own user name and password, GITHUB_TOKEN, no credential";
    assert!(message.contains(tried), "{message}");
    assert_eq!(credentials(&proxy), [true, true, false]);
    assert_hidden(&ended);
}

#[test]
fn sends_no_secret_over_plain_http() {
    let (address, requests) =
        recorder(&["HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let fetch = Fetch::untrusting(&format!("http://me:pws3cret@{address}/o/r"))
        .var("WORKFLOW_ALLOWED_SCHEMES", "http")
        .var("WORKFLOW_GITHUB_HOSTS", "127.0.0.1")
        .var("GITHUB_TOKEN", "t0kens3cret");
    let ended = fetch.run();
    assert!(ended.expect(Exit::AuthenticationFailed).contains("never sent over plain http"));
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].to_lowercase().contains("authorization"), "{}", requests[0]);
}

#[test]
fn sends_no_secret_after_a_redirect_to_another_port() {
    let elsewhere = private();
    let target = elsewhere.repository("private/flow").file("a", "1").create().unwrap();
    let location = format!("{}/info/refs?service=git-upload-pack", target.url());
    let settings = Settings::default().response("moved", 301, &[("Location", &location)], "");
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
fn follows_redirect_to_another_origin_without_credentials() {
    let elsewhere = private();
    let target = elsewhere.repository("open/flow").file("a", "1").create().unwrap();
    let location = format!("{}/info/refs?service=git-upload-pack", target.url());
    let settings = Settings::default().response("moved", 302, &[("Location", &location)], "");
    let server = GitServer::start(&settings).unwrap();
    let fetch = Fetch::new(&server, &server.url("moved/flow"));
    let bundle = fetch.dir.path().join("bundle");
    fs::write(&bundle, format!("{}{}", server.ca_pem(), elsewhere.ca_pem())).unwrap();
    let fetch = fetch.var("SSL_CERT_FILE", &bundle.to_string_lossy());
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&target, "main", ""));
}

#[test]
fn keeps_credential_if_another_origin_demands_one() {
    let err = "ERR anonymous downloads are limited\n";
    let headers = vec![("Content-Type", "application/x-git-upload-pack-advertisement".to_owned())];
    let limited = Fault::Response(200, headers, format!("{:04x}{err}", err.len() + 4));
    let (server, repository) = plain_http_server();
    let elsewhere =
        FaultProxy::start(&server, Certificate::Good, vec![(Phase::Listing, When::Always, limited)]).unwrap();
    let location = format!("{}/info/refs?service=git-upload-pack", elsewhere.url(repository.url()));
    let redirect = vec![(Phase::Listing, When::Always, Fault::redirect(&location))];
    let proxy = FaultProxy::start(&server, Certificate::Good, redirect).unwrap();
    let fetch = with_token(&proxy.url(repository.url()), &proxy);
    let bundle = fetch.dir.path().join("bundle");
    let ca = |proxy: &FaultProxy| fs::read_to_string(proxy.ca_file()).unwrap();
    fs::write(&bundle, format!("{}{}", ca(&proxy), ca(&elsewhere))).unwrap();
    // One attempt only: the second one does not fit into the time limit.
    let fetch = fetch.var("SSL_CERT_FILE", &bundle.to_string_lossy()).var("WORKFLOW_TIMEOUT", "800ms");
    let ended = fetch.run();
    assert_hidden(&ended);
    assert!(ended.message.contains("anonymous downloads are limited"), "{}", ended.message);
    assert!(!ended.stderr.contains("trying a credential"), "{}", ended.stderr);
    assert_eq!((proxy.requests().len(), elsewhere.requests().len()), (1, 1));
}
