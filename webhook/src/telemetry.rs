//! Logs: one constant message with fields a line, on stderr.
//!
//! Lines are held back while there is something to do, and written in one call when there is not: a
//! call for each would be a sixth of what a review costs. See [`runtime`].

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Most that is held back, in bytes.
const MOST: usize = 32 << 10;

static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes out what is held back when it goes, also when it goes by a panic.
#[derive(Debug)]
#[must_use = "lines that are held back are lost without it"]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        flush();
    }
}

/// Starts logging. `RUST_LOG` chooses what is logged, such as `info,kube=debug`; `info` by default, and where it can't
/// be read.
pub fn start(format: LogFormat) -> Logs {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    let logs = tracing_subscriber::fmt::layer().with_writer(|| Held).with_ansi(false);
    let all = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => all.with(logs).try_init(),
        LogFormat::Json => all.with(logs.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    // An error means that logging has been started already, as in tests.
    drop(started);
    Logs(())
}

/// Levels by module are enough, and need no regular expressions.
fn filter(rust_log: Option<&str>) -> Targets {
    rust_log
        .filter(|levels| !levels.is_empty())
        .and_then(|levels| levels.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
        // Its spans would be printed in front of each line of the status controller.
        .with_target("kube_runtime::controller", LevelFilter::WARN)
}

/// A runtime on this thread that writes out what is held back before it waits for anything.
///
/// # Errors
/// When the system gives no means to wait.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().on_thread_park(flush).build()
}

fn flush() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if !held.is_empty() {
        // Where logs can't be written, nothing can be said.
        drop(io::stderr().write_all(&held));
        held.clear();
    }
}

struct Held;

impl Write for Held {
    /// Takes a whole line, as the layer writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let full = {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            held.extend_from_slice(line);
            held.len() >= MOST
        };
        if full {
            flush();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        flush();
        Ok(())
    }
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
