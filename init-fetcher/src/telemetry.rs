//! Logs on stderr, and a panic as an outcome like any other.

use std::io;
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;
use workflow_contract::LogFormat;

use crate::config::{self, ConfigError, EnvLookup};
use crate::run::Run;

/// Starts logging. With a malformed format, logs are text and the error is returned.
///
/// # Errors
/// [`ConfigError`] for the format.
pub fn start(lookup: EnvLookup) -> Result<(), ConfigError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::termination::Details;
    use workflow_contract::{Exit, Termination};

    const LOG: &str = "TEST_TERMINATION_LOG";

    #[test]
    fn a_panic_ends_in_70_with_a_message_that_does_not_quote_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("message");
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::panics", "--ignored", "--nocapture"])
            .env(LOG, &log)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(70));
        let message = std::fs::read_to_string(&log).unwrap();
        assert!(message.contains("telemetry.rs:") && !message.contains("s3cret"), "{message}");
        let details = Termination::parse(&message).details.unwrap();
        assert_eq!(details.reason, Exit::InternalError);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own that it ends"]
    fn panics() {
        let log = std::env::var(LOG).unwrap();
        let run = Arc::new(Run::new(log.into(), Details::new(Exit::InternalError)));
        report_panics(Arc::clone(&run));
        let _held = run.lock();
        panic!("with a s3cret");
    }
}
