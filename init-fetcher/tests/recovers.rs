//! Connections that break or corrupt what they carry, at any byte: the next attempt makes it good.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Fetch, of_disk, of_git};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Repository, Settings};

/// What a forwarder does to the answers on its connections.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Cut the first connection after this many bytes.
    CutOnce(usize),
    /// Change the byte that stands this far behind the line that announces the pack, on the first connection.
    CorruptOnce(usize),
    /// The same on every connection.
    CorruptAlways(usize),
}

/// Forwards to `to` with a fault; gives its own address.
fn forwarder(to: SocketAddr, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let done = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(to).unwrap();
            let (mut requests, mut onward) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut requests, &mut onward));
            let done = Arc::clone(&done);
            thread::spawn(move || {
                forward(&mut server, &mut client, fault, &done);
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            });
        }
    });
    address
}

fn forward(from: &mut TcpStream, to: &mut TcpStream, fault: Fault, done: &AtomicBool) {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let start = seen.len();
        seen.extend(&buffer[..read]);
        let first = !done.load(Ordering::SeqCst);
        match fault {
            Fault::CutOnce(at) if first && at < seen.len() => {
                done.store(true, Ordering::SeqCst);
                let _ = to.write_all(&seen[start..at.max(start)]);
                return;
            }
            Fault::CorruptOnce(behind) | Fault::CorruptAlways(behind) => {
                let once = matches!(fault, Fault::CorruptOnce(_));
                let pack = seen.windows(9).rposition(|window| window == b"packfile\n").map(|at| at + 9);
                let at = pack.map(|pack| pack + behind);
                if let Some(at) = at.filter(|at| (start..seen.len()).contains(at) && (first || !once)) {
                    done.store(true, Ordering::SeqCst);
                    seen[at] ^= 0x20;
                }
            }
            Fault::CutOnce(_) => {}
        }
        if to.write_all(&seen[start..]).is_err() {
            return;
        }
    }
}

fn serve() -> (GitServer, Repository) {
    let server = GitServer::start(&Settings::default().plain_http()).unwrap();
    let text = |n: u32| {
        (0..400)
            .flat_map(|line: u32| {
                [
                    (line * n).to_string(),
                    "
"
                    .into(),
                ]
            })
            .collect::<String>()
    };
    let repository = server.repository("flow").file("d/a", text(7)).file("d/b", text(11)).create().unwrap();
    (server, repository)
}

fn through(server: &GitServer, repository: &Repository, fault: Fault, path: &str) -> Fetch {
    let url = repository.url().replace(&server.address().to_string(), &forwarder(server.address(), fault));
    Fetch::untrusting(&url).var("WORKFLOW_ALLOWED_SCHEMES", "http").path(path)
}

#[test]
fn a_connection_that_breaks_anywhere_is_made_good() {
    let (server, repository) = serve();
    let mut noticed = 0;
    for cut in (0..6000).step_by(487) {
        for path in ["", "d"] {
            let fetch = through(&server, &repository, Fault::CutOnce(cut), path);
            let ended = fetch.run();
            ended.expect(Exit::Reconciled);
            let attempts = ended.details().attempts.unwrap();
            assert!(attempts <= 2, "cut after {cut}: {}", ended.stderr);
            noticed += attempts - 1;
            assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", path));
            assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
        }
    }
    // Not every cut breaks an attempt: one between two answers only costs a new connection.
    assert!(noticed >= 4, "{noticed} of the cuts broke an attempt");
}

#[test]
fn a_pack_that_arrives_corrupt_is_fetched_again() {
    let (server, repository) = serve();
    for behind in [40, 80, 160, 320, 640, 1000] {
        let fetch = through(&server, &repository, Fault::CorruptOnce(behind), "");
        let ended = fetch.run();
        ended.expect(Exit::Reconciled);
        assert_eq!(ended.details().attempts, Some(2), "{behind}: {}", ended.stderr);
        assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", ""));
    }
}

#[test]
fn a_pack_that_always_arrives_corrupt_is_33() {
    let (server, repository) = serve();
    let fetch = through(&server, &repository, Fault::CorruptAlways(320), "");
    let ended = fetch.run();
    let sentence = ended.expect(Exit::ServerError);
    assert!(sentence.contains("corrupt pack") && sentence.contains("5 attempts"), "{sentence}");
    assert_eq!(fetch.residue(&[]), Vec::<String>::new());
}
