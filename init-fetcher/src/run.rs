//! What all threads of a run share: how far it is, and who has the last word.
//!
//! A run ends exactly once: by itself, by its time limit, by a signal or by a panic. Each of them takes
//! the same lock first, and publishing holds it, so a run is never ended half-way through publishing and
//! never writes two messages.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use workflow_contract::Exit;
use workflow_contract::termination::Details;

use crate::report;

/// The state of a run.
pub struct Run {
    started: Instant,
    termination_log: PathBuf,
    stopping: AtomicBool,
    state: Mutex<State>,
}

/// What the lock guards.
pub struct State {
    /// What the message will say beside its message.
    pub details: Details,
    /// What is being done, as the end of "while …".
    pub doing: &'static str,
    /// What the last attempt failed with, while waiting for the next.
    pub between_attempts: Option<(Exit, String)>,
    /// Where this run builds what it will publish.
    pub staging: Option<PathBuf>,
    /// Whether the workflow is in its place.
    pub published: bool,
}

impl Run {
    /// A run that starts now.
    pub fn new(termination_log: PathBuf, details: Details) -> Self {
        let state =
            State { details, doing: "starting", between_attempts: None, staging: None, published: false };
        Self {
            started: Instant::now(),
            termination_log,
            stopping: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The state, locked.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process, so nobody sees what it left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is being done from now on.
    pub fn doing(&self, doing: &'static str) {
        self.checkpoint();
        self.lock().doing = doing;
    }

    /// An attempt starts.
    pub fn attempt_begins(&self, number: u32) {
        let mut state = self.lock();
        state.details.attempts = Some(number);
        state.between_attempts = None;
    }

    /// An attempt failed and there will be another.
    pub fn attempt_failed(&self, exit: Exit, message: String) {
        self.lock().between_attempts = Some((exit, message));
    }

    /// Publishes: nothing ends the run meanwhile.
    pub fn publish<E>(&self, publish: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.checkpoint();
        let mut state = self.lock();
        publish()?;
        state.published = true;
        Ok(())
    }

    /// Ends the run from the thread that did the work.
    pub fn end(&self, exit: Exit, message: &str) -> u8 {
        let mut state = self.lock();
        if self.stopping.swap(true, Ordering::SeqCst) {
            drop(state);
            wait_for_the_end();
        }
        self.report(&mut state, exit, message);
        exit.code()
    }

    /// Ends the process from a thread that watches, unless `decide` says that there is no need.
    pub fn end_process(&self, decide: impl FnOnce(&State) -> Option<(u8, Option<(Exit, String)>)>) {
        let mut state = self.lock();
        let Some((code, outcome)) = decide(&state) else { return };
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some((exit, message)) = outcome {
            self.report(&mut state, exit, &message);
        }
        if let Some(staging) = state.staging.take() {
            drop(state);
            remove_in_time(&staging);
        }
        std::process::exit(code.into());
    }

    /// Ends the process from the panic hook. The panicking thread may hold the lock.
    pub fn end_in_panic(&self, message: &str) -> ! {
        match self.state.try_lock() {
            Ok(mut state) => self.report(&mut state, Exit::InternalError, message),
            Err(_) => {
                report::write(&self.termination_log, message, Details::new(Exit::InternalError));
            }
        }
        std::process::exit(Exit::InternalError.code().into());
    }

    /// Stops here for good where the run is being ended by another thread, so that nothing is written
    /// behind the back of its clean-up.
    pub fn checkpoint(&self) {
        if self.stopping.load(Ordering::Relaxed) {
            wait_for_the_end();
        }
    }

    fn report(&self, state: &mut State, exit: Exit, message: &str) {
        state.details.reason = exit;
        state.details.ms = u64::try_from(self.elapsed().as_millis()).ok();
        report::write(&self.termination_log, message, state.details.clone());
    }
}

fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

/// Removes the staging directory, but for no longer than a run that was told to end may take. What is left
/// is swept by the next run.
fn remove_in_time(staging: &Path) {
    const LIMIT: Duration = Duration::from_millis(600);
    let staging = staging.to_owned();
    let (done, finished) = std::sync::mpsc::channel();
    thread::spawn(move || {
        // The working thread may be at its last file: what it adds is removed in a second pass.
        for _ in 0..3 {
            if crate::publish::remove(&staging).is_ok() {
                break;
            }
        }
        done.send(())
    });
    // Late or not, the process ends now.
    let _ = finished.recv_timeout(LIMIT);
}
