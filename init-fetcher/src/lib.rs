//! The init container that puts a workflow's git repository on disk before the runner starts.
//!
//! ```text
//!  config, credentials -> fetch (deliver, resolve) -> transport (http, ssh) -> protocol (v0, v2)
//!                           |                                                  |
//!                           |                                                pack (objects by their ids)
//!                           v                                                  |
//!                         checkout (files, .git, publish) <- tree (path policy, plan)
//!
//!  run, watchdog: time limit, signals        report, termination: message     retry: schedule
//! ```
//!
//! Modules import from lower layers only; from the lowest: `config`, `credentials`, `pack`, `protocol`, `transport`, `tree`,
//! `checkout`, `run`, `fetch`.
//!
//! All names of a repository are checked before the first is written, and the directory is published only
//! when it is complete. Every outcome has an exit code ([`workflow_contract::Exit`]) and a message.

mod checkout;
mod cli;
mod config;
mod credentials;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod oid;
mod pack;
mod protocol;
mod report;
mod retry;
mod run;
mod suggest;
mod telemetry;
mod termination;
mod transport;
mod tree;
mod volume;
mod watchdog;

use std::io::Write as _;
use std::sync::Arc;

use workflow_contract::{Exit, Source};

use cli::Invocation;
use config::{Config, EnvLookup};
use fetch::deliver;
use fetch::failure::FetchFailure;
use report::Delivered;
use run::Run;
use watchdog::Watchdog;

/// Runs the program with these arguments (without the program's name) and this environment. Returns the process's exit
/// code.
pub fn main(arguments: &[String], lookup: EnvLookup) -> u8 {
    match cli::read(arguments) {
        Invocation::Print(text) => {
            // A reader that went away is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Exit::Reconciled.code();
        }
        Invocation::Reject(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            return Exit::InvalidSource.code();
        }
        Invocation::Deliver => {}
    }
    let log_format = telemetry::start(lookup);
    let run = Arc::new(Run::new(config::termination_log(lookup), report::details(lookup)));
    telemetry::report_panics(Arc::clone(&run));
    // Group = user: a runner with another uid of group 0 must be able to write.
    rustix::process::umask(rustix::fs::Mode::WOTH);
    let config = log_format.and_then(|()| Config::read(lookup));
    let source =
        config.as_ref().ok().map(|c| Source::new(&c.url.to_string(), c.reference.as_str(), c.path.as_str()));
    match config.map_err(FetchFailure::from).and_then(|config| watched(&config, &run)) {
        Ok(delivered) => run.end(Exit::Reconciled, &report::success(&delivered, run.elapsed().as_secs_f64())),
        Err(failure) => {
            let attempts = run.lock().details.attempts.unwrap_or(0);
            run.end(failure.exit(), &report::failure(&failure, source.as_ref(), attempts))
        }
    }
}

fn watched(config: &Config, run: &Arc<Run>) -> Result<Delivered, FetchFailure> {
    let no_watchdog = |error: std::io::Error| FetchFailure::Internal(format!("no watchdog: {error}"));
    let watchdog = Watchdog::start(Arc::clone(run)).map_err(no_watchdog)?;
    watchdog.limit(config.limits.timeout).map_err(no_watchdog)?;
    deliver::deliver(config, run)
}
