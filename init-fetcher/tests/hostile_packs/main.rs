//! Responses that no git server gives: packs that swell, lists without end, trees that git could not have
//! written. Each is rejected in little memory and at once, or delivered where it is only unusual.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

#[path = "../common/mod.rs"]
mod common;
mod raw_pack;
mod raw_server;

use common::{Ended, Fetch};
use git2::{ObjectType, Oid};
use raw_pack::{RawPack, deflated, delta};
use raw_server::{Body, RawServer, Responses};
use workflow_contract::Exit;

/// Memory that a run may use, whatever it meets, in MiB.
const MEMORY: u32 = 128;

fn line(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 4).as_bytes(), bytes].concat()
}

fn fixed(parts: &[Vec<u8>]) -> Body {
    Body { start: parts.concat(), ..Body::default() }
}

/// Responses of a valid server for this commit and pack.
fn responses(commit: Oid, pack: &[u8], filter: bool) -> Responses {
    let features = if filter { &b"fetch=shallow filter\n"[..] } else { b"fetch=shallow\n" };
    let capabilities = [line(b"version 2\n"), line(b"ls-refs\n"), line(features), b"0000".to_vec()];
    let refs = [line(format!("{commit} refs/heads/main\n").as_bytes()), b"0000".to_vec()];
    let mut sent = vec![line(b"packfile\n")];
    sent.extend(pack.chunks(60_000).map(|chunk| line(&[b"\x01", chunk].concat())));
    sent.push(b"0000".to_vec());
    Responses { capabilities: fixed(&capabilities), refs: fixed(&refs), pack: fixed(&sent) }
}

fn fetch(server: &RawServer, path: &str) -> Fetch {
    Fetch::untrusting(&server.url()).path(path).var("WORKFLOW_ALLOWED_SCHEMES", "http")
}

fn ends(fetch: &Fetch, exit: Exit, case: &str) -> Ended {
    let ended = fetch.run_within(MEMORY);
    assert_eq!(ended.code, i32::from(exit.code()), "{case}: {}\n{}", ended.message, ended.stderr);
    ended.expect(exit);
    assert_eq!(ended.details().attempts, Some(1), "{case}: {}", ended.message);
    if exit != Exit::Reconciled {
        assert_eq!(fetch.residue(&[]), Vec::<String>::new(), "{case}");
    }
    ended
}

/// A pack of this tree in the directory `top`, fetched whole and in part, from servers with filter and without.
fn every_way(case: &str, exit: Exit, tree: impl FnOnce(&mut RawPack) -> Oid) {
    let mut pack = RawPack::new();
    let tree = tree(&mut pack);
    let top = pack.tree(&[("40000", b"top", tree)]);
    let commit = pack.commit(top);
    let pack = pack.finish();
    for (filter, path) in [(true, ""), (true, "top"), (false, "top")] {
        let server = RawServer::start(responses(commit, &pack, filter));
        ends(&fetch(&server, path), exit, &format!("{case}, filter: {filter}, path: {path:?}"));
    }
}

fn nothing() -> Oid {
    Oid::from_bytes(&[7; 20]).unwrap()
}

#[test]
fn delivers_valid_packs() {
    every_way("sound", Exit::Reconciled, |pack| {
        let base = pack.end();
        let file = pack.blob(b"0123456789");
        pack.delta(base, &delta(10, 6, &[0x91, 2, 3, 3, b'x', b'y', b'z']));
        let made = Oid::hash_object(ObjectType::Blob, b"234xyz").unwrap();
        pack.tree(&[("100644", b"base", file), ("100755", b"made", made)])
    });
}

#[test]
fn rejects_names_that_git_does_not_write() {
    for name in [&b""[..], b"a/b", b"/", b"../x", b"/etc/passwd", b"a/../../b", b".git/config"] {
        every_way("a name", Exit::UnsafeContent, |pack| {
            let file = pack.blob(b"x");
            pack.tree(&[("100644", name, file)])
        });
    }
    // A directory's name is judged before what is in it.
    every_way("a directory's name", Exit::UnsafeContent, |pack| {
        let directory = pack.tree(&[("100644", b"x", nothing())]);
        pack.tree(&[("40000", b"a", directory), ("40000", b"..", directory)])
    });
}

#[test]
fn reports_broken_trees() {
    for mode in ["0", "10064", "x", "777777777", "020000", "-100644"] {
        every_way("a mode", Exit::ServerError, |pack| {
            let file = pack.blob(b"x");
            pack.tree(&[(mode, b"a", file)])
        });
    }
    every_way("half a tree", Exit::ServerError, |pack| pack.object(ObjectType::Tree, b"100644 a\0half"));
}

#[test]
fn delivers_entries_out_of_order_and_old_modes() {
    every_way("order", Exit::Reconciled, |pack| {
        let file = pack.blob(b"x");
        pack.tree(&[("100664", b"z", file), ("100644", b"b", file), ("0100755", b"a", file)])
    });
}

#[test]
fn rejects_directories_nested_ten_thousand_deep() {
    every_way("deep", Exit::TooLarge, |pack| {
        let mut tree = pack.tree(&[]);
        for _ in 0..10_000 {
            tree = pack.tree(&[("40000", b"d", tree)]);
        }
        tree
    });
}

#[test]
fn rejects_objects_by_their_claimed_size() {
    for (kind, size) in [
        (ObjectType::Blob, 1 << 40),
        // A million files in one directory.
        (ObjectType::Tree, 34 << 20),
        (ObjectType::Commit, 1 << 30),
        (ObjectType::Tag, 5 << 20),
        (ObjectType::Commit, u64::MAX >> 4),
    ] {
        every_way(&format!("{kind} of {size}"), Exit::TooLarge, |pack| {
            pack.entry(kind as u8, size, &[], &deflated(b"short"));
            nothing()
        });
    }
}

/// Little is sent, and much would be made of it.
#[test]
fn rejects_deltas_that_expand_beyond_the_limit() {
    let base = vec![7; 64 << 10];
    let large = 64 << 20;
    every_way("one delta", Exit::TooLarge, |pack| {
        let at = pack.end();
        let file = pack.blob(&base);
        // Copies of 64 KiB of one byte each.
        pack.delta(at, &delta(base.len() as u64, 5 << 30, &vec![0x80; 5 << 14]));
        pack.tree(&[("100644", b"a", file)])
    });
    every_way("many deltas", Exit::TooLarge, |pack| {
        let at = pack.end();
        let file = pack.blob(&base);
        for _ in 0..40 {
            pack.delta(at, &delta(base.len() as u64, large, &[0x80]));
        }
        pack.tree(&[("100644", b"a", file)])
    });
    every_way("a delta that is itself large", Exit::TooLarge, |pack| {
        let file = pack.blob(&base);
        pack.entry(7, 1 << 30, file.as_bytes(), &deflated(&delta(base.len() as u64, 1, &[])));
        pack.tree(&[("100644", b"a", file)])
    });
}

/// The last of a chain is made from all before it; if each is wanted, that is the square of them.
#[test]
fn bounds_memory_and_time_of_delta_chains() {
    const LINKS: usize = 3000;
    let mut pack = RawPack::new();
    let mut content = vec![b'x'; 100];
    let mut at = pack.end();
    let mut files = vec![pack.blob(&content)];
    for n in 0..LINKS {
        let before = content.len() as u64;
        content.truncate(90);
        content.extend(format!("{n:010}").bytes());
        // All but the last ten bytes, then others.
        let instructions = [&[0x90, 90, 10][..], &content[90..]].concat();
        at = pack.delta(at, &delta(before, content.len() as u64, &instructions));
        files.push(Oid::hash_object(ObjectType::Blob, &content).unwrap());
    }
    let names: Vec<String> = (0..files.len()).map(|n| n.to_string()).collect();
    let entries: Vec<_> = names.iter().zip(&files).map(|(n, file)| ("100644", n.as_bytes(), *file)).collect();
    let tree = pack.tree(&entries);
    let tree = pack.tree(&[("40000", b"top", tree)]);
    let commit = pack.commit(tree);
    let pack = pack.finish();
    for (filter, path, exit) in
        [(true, "", Exit::Reconciled), (true, "top", Exit::Reconciled), (false, "top", Exit::TooLarge)]
    {
        let server = RawServer::start(responses(commit, &pack, filter));
        let fetch = fetch(&server, path).var("WORKFLOW_MAX_BYTES", "1Mi");
        ends(&fetch, exit, &format!("filter: {filter}, path: {path:?}"));
    }
}

#[test]
fn rejects_lists_without_end_in_little_memory() {
    let mut pack = RawPack::new();
    let tree = pack.tree(&[]);
    let commit = pack.commit(tree);
    let pack = pack.finish();
    let endless = |start: &[Vec<u8>], middle: &[u8]| Body {
        start: start.concat(),
        middle: line(middle),
        times: 20_000_000,
        end: b"0000".to_vec(),
    };
    let long = format!("{commit} refs/heads/{}\n", "x".repeat(60_000));

    let mut refs = responses(commit, &pack, true);
    refs.refs = endless(&[], long.as_bytes());
    let server = RawServer::start(refs);
    ends(&fetch(&server, ""), Exit::TooLarge, "refs");

    let mut old = responses(commit, &pack, true);
    let first = format!("{commit} HEAD\0symref=HEAD:refs/heads/main\n");
    old.capabilities = endless(&[line(first.as_bytes())], long.as_bytes());
    let server = RawServer::start(old);
    ends(&fetch(&server, ""), Exit::TooLarge, "refs of protocol v0");
}
