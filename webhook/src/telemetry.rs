//! Logs: one constant sentence with fields a line, on stderr.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `RUST_LOG` chooses what is logged, such as `info,kube=debug`; `info` by default, and where it can't
/// be read.
pub fn start(format: LogFormat) {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    // Levels by module are enough, and need no regular expressions.
    let filter: Targets = asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let all = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => all.with(logs).try_init(),
        LogFormat::Json => all.with(logs.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    // An error means that logging has been started already, as in tests.
    drop(started);
}
