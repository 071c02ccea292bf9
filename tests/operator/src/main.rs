//! The fake operator as a program, for manually created sessions.

use clap::Parser;
use fake_operator::{FakeOperator, Mode, Settings};
use tracing_subscriber::EnvFilter;

/// Turns AgenticSessions into pods, as the platform's operator does, until it is interrupted. Uses the current context
/// of the kubeconfig.
#[derive(Parser)]
struct Args {
    /// Revision of the platform's operator
    #[arg(long, value_enum, default_value = "post-running")]
    mode: Mode,
    /// Image of the fake runner
    #[arg(long, env = "SESSION_RUNNER_IMAGE")]
    image: String,
    /// Namespaces whose sessions it reconciles; they must exist
    #[arg(required = true)]
    namespaces: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { mode, image, namespaces } = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,fake_operator=debug".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut config = kube::Config::infer().await?;
    // a 503 is a response: the proxy's while a runner does not listen yet.
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let settings = Settings::new(&image);
    let operators: Vec<_> = namespaces
        .iter()
        .map(|namespace| FakeOperator::start(client.clone(), namespace, mode, settings.clone()))
        .collect();
    tracing::info!(?mode, ?namespaces, "reconciling sessions");
    tokio::signal::ctrl_c().await?;
    drop(operators);
    Ok(())
}
