//! Logs on stderr, and a panic as an outcome like any other.

use std::io;
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;

use crate::config::{self, ConfigError, LogFormat, Lookup};
use crate::run::Run;

/// Starts logging. With a format that can't be read, logs are text and the error is given back.
///
/// # Errors
/// [`ConfigError`] for the format.
pub fn start(lookup: Lookup) -> Result<(), ConfigError> {
    let format = config::log_format(lookup);
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::INFO)
        .with_target(false);
    // A second start, as in a test, keeps the first.
    let _ = match format {
        Ok(LogFormat::Json) => builder.json().flatten_event(true).try_init(),
        Ok(LogFormat::Text) | Err(_) => builder.with_ansi(false).try_init(),
    };
    format.map(|_| ())
}

/// Makes a panic end the process with a message and exit code 70.
///
/// The panic's own text is not shown: it may quote anything. Its place is enough to find it.
pub fn report_panics(run: Arc<Run>) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        run.end_in_panic(&format!("an internal error{place}; this is a bug, please report it"));
    }));
}
