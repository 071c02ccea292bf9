//! `make chaos`: minutes of load during random disruptions. See `workflow_tests::chaos`.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use workflow_tests::chaos::{ChaosPlan, run};
use workflow_tests::cluster::Cluster;
use workflow_tests::namespace::TestNamespace;

/// Loads admission on the cluster of `make cluster-up` and disrupts the injector at random.
#[derive(Parser)]
struct Args {
    /// Duration in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Seed of the disruptions; random by default.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is the result")]
async fn main() -> anyhow::Result<ExitCode> {
    let Args { seconds, seed } = Args::parse();
    let seed = seed.map_or_else(|| anyhow::Ok(UNIX_EPOCH.elapsed()?.as_secs()), Ok)?;
    println!("chaos: {seconds} s, --seed {seed}");
    let namespace = TestNamespace::temporary(Cluster::connect().await?, "chaos").await?;
    let plan = ChaosPlan { seed, length: Duration::from_secs(seconds) };
    let outcome = Box::pin(run(namespace.clone(), plan)).await;
    namespace.remove().await?;
    let report = outcome?;
    println!("\n{report}");
    let violations = report.violations();
    for message in &violations {
        println!("chaos: {message}");
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
