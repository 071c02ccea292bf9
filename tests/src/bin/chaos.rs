//! `make chaos`: minutes of load while everything happens to the injector, at random. See `workflow_tests::chaos`.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use workflow_tests::chaos::{Plan, run};
use workflow_tests::cluster::Cluster;
use workflow_tests::namespace::TestNamespace;

/// The namespace in which it plays.
const NAMESPACE: &str = "chaos";

/// Loads admission on the cluster of `make cluster-up` and does to the injector what can happen to it.
#[derive(Parser)]
struct Args {
    /// How long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Makes the same upheavals come again; by default another each time.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is the result")]
async fn main() -> anyhow::Result<ExitCode> {
    let Args { seconds, seed } = Args::parse();
    let seed = seed.map_or_else(|| anyhow::Ok(UNIX_EPOCH.elapsed()?.as_secs()), Ok)?;
    println!("chaos: {seconds} s, --seed {seed}");
    let namespace = TestNamespace::named(Cluster::connect().await?, NAMESPACE).await?;
    let plan = Plan { seed, length: Duration::from_secs(seconds) };
    let outcome = Box::pin(run(namespace.clone(), plan)).await;
    namespace.remove().await?;
    let report = outcome?;
    println!("\n{report}");
    let wrong = report.wrong();
    for message in &wrong {
        println!("chaos: {message}");
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
