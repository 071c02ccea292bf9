//! `make bench-status`: cost and speed of the status controller with many sessions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use workflow_tests::bench_status::{self, BenchPlan};

/// Measures the status controller on an API server of its own, without nodes.
#[derive(Parser)]
struct Args {
    /// The program `workflow-injector`, as it is released.
    #[arg(long)]
    injector: PathBuf,
    /// Sessions, each with a pod.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Outcomes a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Outcomes in each measurement.
    #[arg(long, default_value_t = 1_500)]
    outcomes: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Args { injector, sessions, rate, outcomes } = Args::parse();
    let table = bench_status::run(&BenchPlan { injector, sessions, rate, outcomes }).await?;
    #[expect(clippy::print_stdout, reason = "this is the result")]
    {
        println!("{table}");
    }
    Ok(if table.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
