//! `make bench-admission`: the cost of admission, compared with a bare handler and with controller-runtime.
//!
//! ```text
//! core 0: one handler at a time        core 1: wrk, this program, and the API server of the live lookup
//! ```
//!
//! Every handler gets the same reviews, over TLS, by 1, 8 and 64 connections. The main figure is the CPU time that the
//! handler itself used, since that hardly depends on what else the machine does. Rounds go through all handlers in
//! turn, each started anew, and medians of the rounds are shown.

mod handler;
mod load;
mod report;
mod reviews;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;
use workflow_tests::api_server;
use workflow_tests::namespace::TestNamespace;

use handler::{Handler, HandlerKind, Handlers};
use load::WrkResult;
use report::{BenchReport, Measured};

/// Connections at once.
const CONNECTIONS: [u32; 3] = [1, 8, 64];

/// Limit of attempts of a run without any response.
const TRIES: u32 = 5;

/// Measures admission and what it is compared with.
#[derive(Parser)]
struct Args {
    /// Directory with the programs bare-handler, fixed-session, workflow-injector and controller-runtime.
    #[arg(long)]
    programs: PathBuf,
    /// Directory for what the run needs and for its report.
    #[arg(long)]
    state: PathBuf,
    /// wrk's script.
    #[arg(long)]
    script: PathBuf,
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds for each handler and number of connections in a round.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (cluster, _turn) = api_server::exclusive().await?;
    let namespace = TestNamespace::named(cluster, reviews::NAMESPACE).await?;
    let reviews = reviews::make(&namespace, &args.state).await.context("make the reviews")?;
    let handlers =
        Handlers::prepare(&args.programs, &args.state, &reviews, &api_server::server()?.admin_kubeconfig())?;

    let mut report = BenchReport::new(reviews.sizes, handlers.patch_size);
    for round in 1..=args.rounds {
        for kind in HandlerKind::ALL {
            let handler = handlers.start(kind)?;
            let idle = handler.resident()?;
            for connections in CONNECTIONS {
                let load = |seconds| load::run(&handler, &args.script, &reviews.file, connections, seconds);
                // Warms up.
                load(1)?;
                report.add(kind, connections, measure(&handler, idle, || load(args.seconds))?);
            }
        }
        progress(round, args.rounds);
    }
    report.publish(&args.state.join("admission.md"))
}

/// Measures one run; repeats it if a busy machine left it no CPU time at all.
fn measure(
    handler: &Handler,
    idle: u64,
    load: impl Fn() -> anyhow::Result<WrkResult>,
) -> anyhow::Result<Measured> {
    for _ in 0..TRIES {
        let before = handler.cpu()?;
        let load = load()?;
        if load.requests > 0 {
            return Ok(Measured::new(&load, handler.cpu()?.saturating_sub(before), idle));
        }
    }
    bail!("{} answered nothing, {TRIES} times", handler.url())
}

#[expect(clippy::print_stderr, reason = "a person waits for minutes")]
fn progress(round: u32, rounds: u32) {
    eprintln!("bench-admission: round {round} of {rounds} done");
}
