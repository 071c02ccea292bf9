//! ssh servers and networks that fail: each in its exit code, in time.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::ssh::Ssh;
use common::{of_disk, of_git, server};
use rustix::process::{Pid, Signal, kill_process};
use workflow_contract::Exit;

/// Listens for as long as the test runs; `response` gets each connection and its number, from 0.
fn listener(response: impl Fn(TcpStream, usize) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            response(stream, number);
        }
    });
    address
}

/// Forwards to the server at `to`, but closes connections with numbers below `broken` after `bytes` of its response.
fn breaking(to: SocketAddr, broken: usize, bytes: u64) -> SocketAddr {
    listener(move |client, number| {
        let server = TcpStream::connect(to).unwrap();
        let (mut up, mut client_in) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut client_in, &mut up));
        thread::spawn(move || {
            let limit = if number < broken { bytes } else { u64::MAX };
            let _ = io::copy(&mut (&server).take(limit), &mut &client);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    })
}

#[test]
fn retries_unreachable_server() {
    // A port that was free a moment ago, and a name that never resolves (RFC 6761).
    let ssh = Ssh::start(true);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = ssh.fetch_with(&format!("ssh://git@127.0.0.1:{port}/r"), &ssh.key());
    let message = ssh.run(&refused).expect(Exit::ServerUnreachable).to_owned();
    assert!(message.contains("connection refused; ") && message.contains("5 attempts"), "{message}");
    let unresolved = ssh.fetch_with("git@no-such-host.invalid:o/r", &ssh.key());
    let message = ssh.run(&unresolved).expect(Exit::ServerUnreachable).to_owned();
    assert!(message.contains("does not resolve") && message.contains("2 attempts"), "{message}");
}

#[test]
fn times_out_on_silent_server() {
    let ssh = Ssh::start(true);
    let silent = listener(|stream, _| {
        thread::spawn(move || (&stream).read_to_end(&mut Vec::new()));
    });
    let trickling = listener(|mut stream, _| {
        thread::spawn(move || {
            while stream.write_all(b"not yet\r\n").is_ok() {
                thread::park_timeout(TICK);
            }
        });
    });
    for address in [silent, trickling] {
        let fetch = ssh.fetch_with(&format!("ssh://git@{address}/r"), &ssh.key());
        let message = ssh.run(&fetch.var("WORKFLOW_TIMEOUT", "700ms")).expect(Exit::Timeout).to_owned();
        assert!(message.contains("connecting to the server"), "{message}");
    }
}

/// Between two lines of a server that has no end of them.
const TICK: std::time::Duration = std::time::Duration::from_millis(20);

#[test]
fn reports_server_that_closes_the_connection() {
    let ssh = Ssh::start(true);
    let address = listener(|mut stream, number| {
        // At once; after its banner; after what is no banner.
        let words: &[u8] = [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"][number % 3];
        let _ = stream.write_all(words);
    });
    let fetch = ssh.fetch_with(&format!("ssh://git@{address}/r"), &ssh.key());
    ssh.run(&fetch).expect(Exit::ServerUnreachable);
}

#[test]
fn recovers_from_broken_connection() {
    let server = server();
    let noise: Vec<u8> =
        (0..400_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let repository = server.repository("acme/flow").file("large", noise).create().unwrap();
    let ssh = Ssh::start(true);
    // In the handshake, and in the pack.
    for bytes in [600, 200_000] {
        let address = breaking(ssh.server.address(), 1, bytes);
        let ssh = ssh.with_known(
            &ssh.known.replace(&ssh.server.host(), &format!("[{}]:{}", address.ip(), address.port())),
        );
        let url =
            ssh.server.url(&repository).replace(&ssh.server.address().to_string(), &address.to_string());
        let fetch = ssh.fetch_with(&url, &ssh.key());
        let ended = ssh.run(&fetch);
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(2));
        assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", ""));
        assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
    }
}

#[test]
fn ends_at_sigterm_while_waiting_for_the_server() {
    static CONNECTED: AtomicUsize = AtomicUsize::new(0);
    let ssh = Ssh::start(true);
    let silent = listener(|stream, _| {
        CONNECTED.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || (&stream).read_to_end(&mut Vec::new()));
    });
    let fetch = ssh.fetch_with(&format!("ssh://git@{silent}/r"), &ssh.key());
    let mut child = fetch.spawn();
    while CONNECTED.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(fetch.residue(&[]), Vec::<String>::new());
}
