//! How long init-fetcher takes beside git, as a table of ratios in one run: `make bench-fetch`.
//!
//! ```text
//!  repositories (made anew, always the same) ─ GitServer (lighttpd, git http-backend, TLS)
//!        └─ delay (as a network would) ─ programs: init-fetcher, git clone, git's partial + sparse clone
//! ```
//!
//! Programs take turns, so that what else the machine does meets all of them. The floor is what the
//! server alone costs: the same requests, given to `git upload-pack` by hand.

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
mod programs;
mod repositories;
mod table;

use std::time::Duration;

use workflow_git_server::{GitServer, Settings};

use delay::Delay;
use programs::{Measured, Program, Source};
use table::Row;

/// Runs of each program that count; one more before them does not.
const ROUNDS: usize = 5;
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
    for bench in repositories::make(&server) {
        for ms in ROUND_TRIPS {
            let delay = Delay::start(server.address(), Duration::from_millis(ms)).expect("a proxy");
            let url = bench.repository.url().replace(&server.address().to_string(), &delay.address());
            for path in ["", bench.path] {
                let source = Source { url: &url, path, ca: &server.ca_file() };
                let row = measure(&bench, &source, &fetcher, &delay, ms, rounds);
                eprintln!("{}", row.line());
                rows.push(row);
            }
        }
    }
    println!("{}", table::render(&rows));
}

fn measure(
    bench: &repositories::Bench,
    source: &Source,
    fetcher: &str,
    delay: &Delay,
    ms: u64,
    rounds: usize,
) -> Row {
    let mut row = Row {
        repository: bench.name,
        path: source.path.to_owned(),
        round_trip: ms,
        limit: if source.path.is_empty() { 0.9 } else { bench.limit },
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
