//! The time limit and signals: a thread that ends the process whatever the others wait for.
//!
//! Time-outs of single reads can't stand in for it: a server that sends a byte a second never runs into
//! one, and looking up a name has none.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use workflow_contract::Exit;

use crate::run::{Run, State};

/// Exit code of a process that was ended by a signal, as shells count.
const SIGNAL_BASE: u8 = 128;

/// Starts watching: for signals at once, for the limit when [`Watchdog::limit`] is called.
pub struct Watchdog {
    run: Arc<Run>,
}

impl Watchdog {
    /// Watches for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// What the system says; a process can hardly be out of file descriptors that early.
    pub fn start(run: Arc<Run>) -> io::Result<Self> {
        for signal in [SIGTERM, SIGINT] {
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
                tracing::warn!(signal, "ended by a signal");
                run.end_process(|_| Some((code, None)));
            })?;
        }
        Ok(Self { run })
    }

    /// Ends the run when it has lasted this long.
    ///
    /// # Errors
    /// What the system says when no thread can be started.
    pub fn limit(&self, limit: Duration) -> io::Result<()> {
        let run = Arc::clone(&self.run);
        thread::Builder::new().name("deadline".into()).spawn(move || {
            thread::sleep(limit.saturating_sub(run.elapsed()));
            run.end_process(|state| at_the_limit(state, limit));
        })?;
        Ok(())
    }
}

/// How a run ends whose time is up; `None` where it is done but for tidying. Pure.
fn at_the_limit(state: &State, limit: Duration) -> Option<(u8, Option<(Exit, String)>)> {
    if state.published {
        return None;
    }
    let (exit, message) = state.between_attempts.clone().unwrap_or_else(|| {
        let message = format!(
            "the time limit of {} s was reached while {}; raise WORKFLOW_TIMEOUT, or look at the server and the network",
            limit.as_secs_f64(),
            state.doing
        );
        (Exit::Timeout, message)
    });
    Some((exit.code(), Some((exit, message))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::termination::Details;

    fn state() -> State {
        State {
            details: Details::new(Exit::InternalError),
            doing: "receiving the pack",
            between_attempts: None,
            staging: None,
            published: false,
        }
    }

    const LIMIT: Duration = Duration::from_millis(1500);

    #[test]
    fn an_attempt_under_way_times_out() {
        let (code, outcome) = at_the_limit(&state(), LIMIT).unwrap();
        let (exit, message) = outcome.unwrap();
        assert_eq!((code, exit), (34, Exit::Timeout));
        assert!(
            message.starts_with("the time limit of 1.5 s was reached while receiving the pack"),
            "{message}"
        );
    }

    #[test]
    fn between_attempts_the_last_failure_counts() {
        let state = State { between_attempts: Some((Exit::ServerUnreachable, "refused".into())), ..state() };
        let outcome = Some((Exit::ServerUnreachable, "refused".to_owned()));
        assert_eq!(at_the_limit(&state, LIMIT), Some((30, outcome)));
    }

    #[test]
    fn what_is_published_is_not_taken_back() {
        assert_eq!(at_the_limit(&State { published: true, ..state() }, LIMIT), None);
    }
}
