//! The time limit and signals: a thread that ends the process whatever the others wait for.
//!
//! Timeouts of single reads are not enough: a server that sends a byte a second never reaches one, and name resolution
//! has none.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use workflow_contract::Exit;

use crate::run::{Run, RunState};

/// Exit code of a process that was ended by a signal, as shells count.
const SIGNAL_BASE: u8 = 128;
/// Exit code after SIGTERM.
const INTERRUPTED_BY_TERM: u8 = 143;
/// Time that a run which has published gets to end by itself after a signal. Removing the old delivery may take longer;
/// the next run removes what is left.
const TIDYING: Duration = Duration::from_millis(300);

/// Starts watching: for signals at once, for the limit when [`Watchdog::limit`] is called.
pub struct Watchdog {
    run: Arc<Run>,
}

impl Watchdog {
    /// Watches for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// An I/O error, such as too many open files.
    pub fn start(run: Arc<Run>) -> io::Result<Self> {
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, run.signaled())?;
            let (mut read, write) = UnixStream::pair()?;
            pipe::register(signal, write)?;
            let run = Arc::clone(&run);
            thread::Builder::new().name("signals".into()).spawn(move || {
                loop {
                    match read.read(&mut [0]) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        _ => break,
                    }
                }
                let code = SIGNAL_BASE + u8::try_from(signal).unwrap_or_default();
                run.end_process(|state| at_signal(state, code));
                // It had published when the signal arrived.
                thread::sleep(TIDYING);
                run.end_process(|state| Some(after_tidying(state, code)));
            })?;
        }
        Ok(Self { run })
    }

    /// Ends the run when it has lasted this long.
    ///
    /// # Errors
    /// An I/O error if no thread can be started.
    pub fn limit(&self, limit: Duration) -> io::Result<()> {
        let run = Arc::clone(&self.run);
        run.set_limit(limit);
        thread::Builder::new().name("deadline".into()).spawn(move || {
            thread::sleep(limit.saturating_sub(run.elapsed()));
            run.end_process(|state| at_the_limit(state, limit));
        })?;
        Ok(())
    }
}

/// Decides how a run ends that receives a signal; `None` if it has published. Pure.
fn at_signal(state: &RunState, code: u8) -> Option<(u8, Exit, String)> {
    state.published.is_none().then(|| interrupted(code))
}

/// Decides how a run ends that has published and still removes its staging directory: the workflow is in place, so it is
/// a success. Pure.
fn after_tidying(state: &RunState, code: u8) -> (u8, Exit, String) {
    match &state.published {
        Some(message) => (Exit::Reconciled.code(), Exit::Reconciled, message.clone()),
        None => interrupted(code),
    }
}

fn interrupted(code: u8) -> (u8, Exit, String) {
    let signal = if code == INTERRUPTED_BY_TERM { "SIGTERM" } else { "SIGINT" };
    let message =
        format!("interrupted by {signal} before the workflow was delivered; start the session again");
    (code, Exit::Interrupted, message)
}

/// Decides how a run ends at its time limit; `None` if it has published. Pure.
fn at_the_limit(state: &RunState, limit: Duration) -> Option<(u8, Exit, String)> {
    if state.published.is_some() {
        return None;
    }
    let (exit, message) = state.between_attempts.clone().unwrap_or_else(|| {
        let submodule = match state.submodule.as_str() {
            "" => String::new(),
            path => format!(" of submodule `{path}`"),
        };
        let message = format!(
            "the time limit of {} s was reached while {}{submodule}; raise WORKFLOW_TIMEOUT, or check the server and the network",
            limit.as_secs_f64(),
            state.phase
        );
        (Exit::Timeout, message)
    });
    Some((exit.code(), exit, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::termination::Details;

    fn state() -> RunState {
        RunState {
            details: Details::new(Exit::InternalError),
            phase: "receiving the pack",
            submodule: String::new(),
            between_attempts: None,
            staging: None,
            published: None,
        }
    }

    const LIMIT: Duration = Duration::from_millis(1500);

    #[test]
    fn attempt_under_way_times_out() {
        let (code, exit, message) = at_the_limit(&state(), LIMIT).unwrap();
        assert_eq!((code, exit), (34, Exit::Timeout));
        assert!(
            message.starts_with("the time limit of 1.5 s was reached while receiving the pack"),
            "{message}"
        );
    }

    #[test]
    fn the_message_names_the_submodule_that_took_the_time() {
        let state = RunState { submodule: "libs/m".into(), ..state() };
        let (_, _, message) = at_the_limit(&state, LIMIT).unwrap();
        assert!(message.contains("while receiving the pack of submodule `libs/m`; raise"), "{message}");
    }

    #[test]
    fn last_failure_counts_between_attempts() {
        let state =
            RunState { between_attempts: Some((Exit::ServerUnreachable, "refused".into())), ..state() };
        assert_eq!(at_the_limit(&state, LIMIT), Some((30, Exit::ServerUnreachable, "refused".to_owned())));
    }

    #[test]
    fn published_run_ends_in_success() {
        let published = RunState { published: Some("delivered".into()), ..state() };
        assert_eq!(at_the_limit(&published, LIMIT), None);
        assert_eq!(at_signal(&published, 143), None);
        assert_eq!(after_tidying(&published, 143), (0, Exit::Reconciled, "delivered".to_owned()));
    }
}
