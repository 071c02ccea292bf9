//! Time, memory and round trips of init-fetcher and git in one run: `make bench-fetch`.
//!
//! ```text
//!  repositories (made anew, always the same) ─ GitServer (lighttpd, git http-backend, TLS)
//!        └─ delay (as a network would) ─ programs: init-fetcher, git clone, git's partial + sparse clone
//! ```
//!
//! Programs take turns, so that other load of the machine affects all of them. The floor is the cost of the server
//! alone: the same requests, passed to `git upload-pack` directly. The limits are those of docs/benchmarks.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a program for developers that fails by panicking"
)]

mod delay;
mod floor;
mod hashing;
mod programs;
mod repositories;
mod table;

use std::time::Duration;

use workflow_git_server::{GitServer, Settings};

use delay::Delay;
use programs::{Measured, Program, Source};
use table::{Limits, Row};

/// Measured runs of each program, after one that is not measured.
const ROUNDS: usize = 5;
/// Limit of resident memory, in MiB.
const MAX_MEMORY: f64 = 20.0;
/// Round-trip times, in milliseconds.
const ROUND_TRIPS: [u64; 2] = [0, 20];

fn main() {
    // `cargo test --benches` runs this, too; nothing is measured then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let server = GitServer::start(&Settings::default()).expect("a git server");
    let fetcher = std::env::var("INIT_FETCHER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_init-fetcher").into());
    let mut rows = Vec::new();
    let only = std::env::var("REPOSITORY").unwrap_or_default();
    for bench in repositories::make(&server).into_iter().filter(|bench| bench.name.contains(&only)) {
        for ms in ROUND_TRIPS {
            let delay = Delay::start(server.address(), Duration::from_millis(ms)).expect("a proxy");
            let url = bench.repository.url().replace(&server.address().to_string(), &delay.address());
            for (path, limit) in bench.paths() {
                let source = Source { url: &url, path, ca: &server.ca_file() };
                // Round trips take the same time for all, so ratios are limited only without them.
                let limit = (ms == 0).then_some(limit);
                let row = measure(&bench, &source, limit, &fetcher, &delay, rounds);
                eprintln!("{}", row.line());
                rows.push(row);
            }
        }
    }
    println!("{}", table::render(&rows));
    println!("{}", hashing::measure(rounds));
}

fn measure(
    bench: &repositories::Bench,
    source: &Source,
    limit: Option<f64>,
    fetcher: &str,
    delay: &Delay,
    rounds: usize,
) -> Row {
    let mut row = Row {
        repository: bench.name,
        path: source.path.to_owned(),
        round_trip: delay.milliseconds(),
        limits: Limits {
            ratio: limit,
            memory: MAX_MEMORY,
            round_trips: if source.path.is_empty() { 4 } else { 5 },
        },
        fetcher: Vec::new(),
        clone: Vec::new(),
        sparse: Vec::new(),
        floor: Vec::new(),
        round_trips: 0,
    };
    for round in 0..=rounds {
        delay.forget();
        let ours = programs::run(&Program::Fetcher(fetcher), source);
        row.round_trips = delay.round_trips_after_tls();
        let cloned = programs::run(&Program::Clone, source);
        let sparse = (!source.path.is_empty()).then(|| programs::run(&Program::Sparse, source));
        let floor = floor::measure(&bench.repository, source.path);
        if round > 0 {
            let keep = |into: &mut Vec<Measured>, measured| into.push(measured);
            keep(&mut row.fetcher, ours);
            keep(&mut row.clone, cloned);
            row.sparse.extend(sparse);
            row.floor.push(floor);
        }
    }
    row
}
