//! Proxies are used as the environment configures them, and receive nothing that is not for them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use common::ssh::Ssh;
use common::{Fetch, repository, server};
use workflow_contract::Exit;

/// A proxy that responds to CONNECT with this status line and records requests. A fake, so that it can deny at will.
fn proxy(status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&requests);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            record.lock().unwrap().push(head.clone());
            client.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
            let Some(target) = head.split(' ').nth(1).filter(|_| status.starts_with("200")) else { continue };
            let mut server = TcpStream::connect(target).unwrap();
            let (mut up, mut onward) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut up, &mut onward));
            thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (address, requests)
}

#[test]
fn sends_only_the_proxys_credential_to_the_proxy() {
    let server = server();
    let repository = repository(&server);
    let (address, requests) = proxy("200 OK");
    let ended = Fetch::new(&server, &repository.url().replace("://", "://user:rep0s3cret@"))
        .var("HTTPS_PROXY", &format!("http://me:pr0xys3cret@{address}"))
        .run();
    ended.expect(Exit::Reconciled);
    assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    let requests = requests.lock().unwrap();
    assert!(
        requests[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", server.address())),
        "{}",
        requests[0]
    );
    // base64 of `me:pr0xys3cret`
    assert!(requests[0].contains("Proxy-Authorization: Basic bWU6cHIweHlzM2NyZXQ="), "{}", requests[0]);
    assert!(!requests[0].contains("\r\nAuthorization"), "{}", requests[0]);
}

#[test]
fn connects_directly_to_hosts_in_no_proxy() {
    let server = server();
    let repository = repository(&server);
    let (address, requests) = proxy("200 OK");
    Fetch::new(&server, repository.url())
        .var("https_proxy", &format!("http://{address}"))
        .var("NO_PROXY", "example.com,127.0.0.0/8")
        .run()
        .expect(Exit::Reconciled);
    assert!(requests.lock().unwrap().is_empty());
}

#[test]
fn names_proxy_that_denies_the_connection() {
    let server = server();
    let repository = repository(&server);
    let cases = [
        ("407 Proxy Authentication Required", "the user name and password are missing or denied"),
        ("403 Forbidden", "gives no connection to 127.0.0.1"),
    ];
    for (status, expected) in cases {
        let (address, _) = proxy(status);
        let ended = Fetch::new(&server, repository.url())
            .var("HTTPS_PROXY", &format!("http://me:pr0xys3cret@{address}"))
            .run();
        let message = ended.expect(Exit::ServerUnreachable);
        assert!(message.contains(&format!("the proxy {address} gives no connection")), "{message}");
        assert!(message.contains(expected) && message.contains("check HTTPS_PROXY"), "{message}");
        assert_eq!(ended.details().attempts, Some(1), "{message}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    }
}

/// microsocks, a SOCKS5 proxy.
struct Socks {
    process: Child,
    address: String,
}

impl Socks {
    fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        while TcpStream::connect(&address).is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "microsocks ended");
            thread::yield_now();
        }
        Self { process, address }
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn uses_socks5_proxy_for_https() {
    let server = server();
    let repository = repository(&server);
    let open = Socks::start(&[]);
    let fetch = |proxy: &str| Fetch::new(&server, repository.url()).var("https_proxy", proxy).run();
    fetch(&format!("socks5://{}", open.address)).expect(Exit::Reconciled);
    let with_login = Socks::start(&["-u", "me", "-P", "pr0xys3cret"]);
    fetch(&format!("socks5://me:pr0xys3cret@{}", with_login.address)).expect(Exit::Reconciled);
    let denied = fetch(&format!("socks5://me:wr0ngs3cret@{}", with_login.address));
    let message = denied.expect(Exit::ServerUnreachable);
    assert!(message.contains(&format!("the proxy {} gives no connection", with_login.address)), "{message}");
    assert!(!denied.message.contains("s3cret") && !denied.stderr.contains("s3cret"));
}

#[test]
fn uses_connect_and_socks5_for_ssh() {
    let server = server();
    let repository = repository(&server);
    let ssh = Ssh::start(true);
    let (http, requests) = proxy("200 OK");
    let socks = Socks::start(&["-u", "me", "-P", "pr0xys3cret"]);
    for address in
        [format!("http://me:pr0xys3cret@{http}"), format!("socks5://me:pr0xys3cret@{}", socks.address)]
    {
        let ended = ssh.run(&ssh.fetch(&repository).var("HTTPS_PROXY", &address));
        ended.expect(Exit::Reconciled);
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    }
    assert!(requests.lock().unwrap()[0].starts_with("CONNECT 127.0.0.1:"), "{:?}", requests.lock().unwrap());
    let direct =
        ssh.fetch(&repository).var("HTTPS_PROXY", "http://127.0.0.1:1").var("NO_PROXY", "127.0.0.0/8");
    ssh.run(&direct).expect(Exit::Reconciled);
}

#[test]
fn names_proxy_that_denies_ssh() {
    let ssh = Ssh::start(true);
    let socks = Socks::start(&["-u", "me", "-P", "pr0xys3cret"]);
    let (forbids, _) = proxy("403 Forbidden");
    let (wants_login, _) = proxy("407 Proxy Authentication Required");
    let url = "ssh://git@127.0.0.1:1/r";
    for (scheme, address, expected) in [
        ("http", &forbids, "status 403"),
        ("http", &wants_login, "user name and password are missing or denied"),
        ("socks5", &socks.address, "user name and password are missing or denied"),
    ] {
        let fetch = ssh
            .fetch_with(url, &ssh.key())
            .var("https_proxy", &format!("{scheme}://me:wr0ngs3cret@{address}"));
        let ended = ssh.run(&fetch);
        let message = ended.expect(Exit::ServerUnreachable);
        assert!(message.contains(&format!("the proxy {address}")) && message.contains(expected), "{message}");
        assert_eq!(ended.details().attempts, Some(1), "{message}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    }
}

#[test]
fn rejects_malformed_proxy_only_if_it_is_used() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url()).var("http_proxy", "not a proxy");
    fetch.run().expect(Exit::Reconciled);
    let used = fetch.var("HTTPS_PROXY", "gopher://u:s3cret@p").run();
    let message = used.expect(Exit::InvalidSource);
    assert!(message.contains("HTTPS_PROXY") && !used.message.contains("s3cret"), "{message}");
}
