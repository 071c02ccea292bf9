//! Proxies are used where the environment says so, and told nothing that is not for them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Fetch, repository, server};
use workflow_contract::Exit;

/// A proxy that knows CONNECT, answers it with this status line, and records what it is told.
fn proxy(status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
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
    (address, seen)
}

#[test]
fn https_goes_through_the_proxy_with_the_proxys_own_credential_only() {
    let server = server();
    let repository = repository(&server);
    let (address, seen) = proxy("200 OK");
    let ended = Fetch::new(&server, &repository.url().replace("://", "://user:rep0s3cret@"))
        .var("HTTPS_PROXY", &format!("http://me:pr0xys3cret@{address}"))
        .run();
    ended.expect(Exit::Reconciled);
    assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", server.address())), "{}", seen[0]);
    // base64 of `me:pr0xys3cret`
    assert!(seen[0].contains("Proxy-Authorization: Basic bWU6cHIweHlzM2NyZXQ="), "{}", seen[0]);
    assert!(!seen[0].contains("\r\nAuthorization"), "{}", seen[0]);
}

#[test]
fn hosts_in_no_proxy_are_reached_directly() {
    let server = server();
    let repository = repository(&server);
    let (address, seen) = proxy("200 OK");
    Fetch::new(&server, repository.url())
        .var("https_proxy", &format!("http://{address}"))
        .var("NO_PROXY", "example.com,127.0.0.0/8")
        .run()
        .expect(Exit::Reconciled);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_proxy_that_refuses_is_30_and_is_named_as_such() {
    let server = server();
    let repository = repository(&server);
    let cases = [
        ("407 Proxy Authentication Required", "without another user name and password (407)"),
        ("403 Forbidden", "refuses to connect to 127.0.0.1"),
    ];
    for (status, said) in cases {
        let (address, _) = proxy(status);
        let ended = Fetch::new(&server, repository.url())
            .var("HTTPS_PROXY", &format!("http://me:pr0xys3cret@{address}"))
            .run();
        let message = ended.expect(Exit::ServerUnreachable);
        assert!(message.contains(&format!("the proxy {address} refuses")), "{message}");
        assert!(message.contains(said) && message.contains("check HTTPS_PROXY"), "{message}");
        assert_eq!(ended.details().attempts, Some(1), "{message}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    }
}
