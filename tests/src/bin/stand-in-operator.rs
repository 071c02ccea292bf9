//! The stand-in operator by itself, for sessions made by hand. See `workflow_tests::operator`.

use clap::Parser;
use tracing_subscriber::EnvFilter;
use workflow_tests::cluster::Cluster;
use workflow_tests::images;
use workflow_tests::operator::{Mode, Settings, StandInOperator};

/// Turns AgenticSessions into pods, as the platform's operator does, until it is interrupted.
#[derive(Parser)]
struct Args {
    /// Which revision of the platform's operator to stand in for.
    #[arg(long, value_enum, default_value = "post-running")]
    mode: Mode,
    /// Namespaces whose sessions it reconciles; they must exist.
    #[arg(required = true)]
    namespaces: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { mode, namespaces } = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,workflow_tests=debug".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cluster = Cluster::connect().await?;
    let settings = Settings::new(&images::session_runner()?);
    let operators: Vec<_> = namespaces
        .iter()
        .map(|namespace| StandInOperator::start(cluster.client.clone(), namespace, mode, settings.clone()))
        .collect();
    tracing::info!(?mode, ?namespaces, "reconciling sessions");
    tokio::signal::ctrl_c().await?;
    drop(operators);
    Ok(())
}
