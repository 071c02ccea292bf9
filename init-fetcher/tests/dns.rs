//! Name resolution: failures that pass are retried, names that do not exist are not.
//!
//! The DNS server is a fake, because a real one does not fail at will. It listens on port 53 of a loopback address, which
//! needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use common::{Ended, Fetch, repository, server};
use workflow_contract::Exit;

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// Responds to the first `failures` queries with `code`, later ones with 127.0.0.1 (or no address for AAAA).
fn dns_server(address: &str, code: u8, failures: u32) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    let left = Arc::new(AtomicU32::new(failures));
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let fails =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let name = query[12..].iter().position(|byte| *byte == 0).unwrap() + 12;
            let question = &query[..name + 5];
            let wants_ipv4 = query[name + 2] == 1;
            let mut response = question.to_vec();
            response[2..4].copy_from_slice(&[0x84, if fails { code } else { 0 }]);
            response[6..12].fill(0);
            if !fails && wants_ipv4 {
                response[7] = 1;
                response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&response, client).unwrap();
        }
    });
}

/// Runs with this address as the only DNS server.
fn run_with_dns(fetch: &Fetch, address: &str) -> Ended {
    let resolver = fetch.dir.path().join("resolv.conf");
    std::fs::write(&resolver, format!("nameserver {address}\noptions attempts:1 timeout:5\n")).unwrap();
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$0\"", resolver.display());
    let words = ["unshare", "--mount", "sh", "-c", &script];
    fetch.run_by(words.map(str::to_owned).to_vec()).0
}

#[test]
fn retries_temporary_dns_failure() {
    dns_server("127.0.0.61", SERVFAIL, 4);
    let server = server();
    let repository = repository(&server);
    let url = repository.url().replace("127.0.0.1", "git.example");
    // The certificate is for 127.0.0.1: that TLS fails proves that the name was resolved in the end.
    let ended = run_with_dns(&Fetch::new(&server, &url), "127.0.0.61");
    ended.expect(Exit::TlsFailed);
    assert!(ended.details().attempts > Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot be resolved at the moment"), "{}", ended.stderr);
}

#[test]
fn gives_missing_name_two_attempts() {
    dns_server("127.0.0.62", NXDOMAIN, u32::MAX);
    for url in ["https://git.example/o/r", "git@git.example:o/r"] {
        let secret = common::ssh::Ssh::start(true);
        let fetch = secret.fetch_with(url, &secret.key());
        let ended = run_with_dns(&fetch, "127.0.0.62");
        let message = ended.expect(Exit::ServerUnreachable);
        assert!(message.contains("the host name git.example does not resolve"), "{message}");
        assert_eq!(ended.details().attempts, Some(2), "{message}");
    }
}
