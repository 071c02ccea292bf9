//! Logs: one constant message with fields a line, on stderr.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use workflow_contract::LogFormat;

/// Starts logging. `RUST_LOG` selects what is logged, such as `info,kube=debug`; the default is `info`, also if
/// it cannot be parsed.
pub fn start(format: LogFormat) {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
    };
    // An error means that logging has been started already, as in tests.
    drop(started);
}

/// Levels by module suffice, and need no regular expressions.
fn filter(rust_log: Option<&str>) -> Targets {
    rust_log
        .filter(|levels| !levels.is_empty())
        .and_then(|levels| levels.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
        // Its spans would be printed in front of each line of the status controller.
        .with_target("kube_runtime::controller", LevelFilter::WARN)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn lines_have_no_span_of_kube_runtime_in_front() {
        for rust_log in [None, Some(""), Some("info,kube=debug"), Some("not=a=level")] {
            let filter = filter(rust_log);
            assert!(!filter.would_enable("kube_runtime::controller", &Level::INFO), "{rust_log:?}");
            assert!(filter.would_enable("workflow_injector::status::apply", &Level::INFO), "{rust_log:?}");
        }
    }
}
