//! Cost of one verification, keys read anew each time as in a run of init-fetcher. The limits: 10 ms and 2 MiB.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for measurements")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use workflow_contract::verify::{Require, Signers};
use workflow_signatures::{ObjectFormat, SignedKind, TrustedKeys, verify};

const ROUNDS: u32 = 200;
const NOW: i64 = 1_800_000_000;
const MAX_TIME: Duration = Duration::from_millis(10);
const MAX_KIB: u64 = 2048;

fn main() {
    // Keys, and what they have signed, are seeds of a fuzzer; see its `make-seeds`.
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/signatures");
    let mut names: Vec<_> = fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
    names.sort();
    for path in names {
        let seed = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let kind = match seed[0] {
            b'c' => SignedKind::Commit,
            b't' => SignedKind::Tag,
            _ => continue,
        };
        let mut parts = seed[1..].splitn(3, |&b| b == 0);
        let mut part = || String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
        let (ssh_signers, openpgp_keys) = (part(), part());
        let object = part().into_bytes();
        let signers =
            Signers { require: Require::Either, ssh_signers, ssh_revoked_keys: String::new(), openpgp_keys };
        let before = peak_kib();
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let keys = TrustedKeys::parse(&signers).unwrap();
            verify(kind, &object, ObjectFormat::Sha1, &keys, NOW).unwrap();
        }
        let (each, grown) = (start.elapsed() / ROUNDS, peak_kib() - before);
        println!("{name:<16} {each:>10.2?} {grown:>6} KiB");
        assert!(each <= MAX_TIME && grown <= MAX_KIB, "{name} is above the limit");
    }
}

/// Largest resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
