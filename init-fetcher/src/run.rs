//! The state that all threads of a run share: its progress, and how it ends.
//!
//! A run ends exactly once: by itself, by its time limit, by a signal or by a panic. Each of them takes
//! the same lock first, and publishing holds it, so a run is never ended half-way through publishing and
//! never writes two messages.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use workflow_contract::termination::Details;
use workflow_contract::{Exit, text};

use crate::checkout::publish;
use crate::report::{self, Delivered};
use crate::termination;

/// The state of a run.
pub struct Run {
    started: Instant,
    termination_log: PathBuf,
    stopping: AtomicBool,
    /// Set by the signal handler itself, before any thread reacts to the signal.
    signaled: Arc<AtomicBool>,
    limit: OnceLock<Duration>,
    state: Mutex<RunState>,
}

/// The state behind the lock.
pub struct RunState {
    /// Fields of the termination message.
    pub details: Details,
    /// The current work, as the end of "while …".
    pub phase: &'static str,
    /// The submodule that is being fetched; empty for the repository itself.
    pub submodule: String,
    /// The failure of the last attempt, while waiting for the next.
    pub between_attempts: Option<(Exit, String)>,
    /// Staging directory of this run.
    pub staging: Option<PathBuf>,
    /// The message of a run that has published its workflow.
    pub published: Option<String>,
}

impl Run {
    pub fn new(termination_log: PathBuf, details: Details) -> Self {
        let state = RunState {
            details,
            phase: "starting",
            submodule: String::new(),
            between_attempts: None,
            staging: None,
            published: None,
        };
        Self {
            started: Instant::now(),
            termination_log,
            stopping: AtomicBool::new(false),
            signaled: Arc::default(),
            limit: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn lock(&self) -> MutexGuard<'_, RunState> {
        // A thread that panics ends the process, so a poisoned state is never used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_phase(&self, phase: &'static str) {
        self.checkpoint();
        self.lock().phase = phase;
    }

    /// Names the submodule that is fetched from now on; empty for the repository itself.
    pub fn enter_submodule(&self, path: &str) {
        self.lock().submodule = text::sanitize(path);
    }

    /// Records that an attempt starts.
    pub fn attempt_begins(&self, number: u32) {
        let mut state = self.lock();
        state.details.attempts = Some(number);
        state.details.signer = None;
        state.between_attempts = None;
    }

    /// Records that an attempt failed and another one follows.
    pub fn attempt_failed(&self, exit: Exit, message: String) {
        self.lock().between_attempts = Some((exit, message));
    }

    /// Returns the flag that a signal handler sets to keep the run from publishing.
    pub fn signaled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.signaled)
    }

    /// Sets the time limit, after which nothing is published.
    pub fn set_limit(&self, limit: Duration) {
        let _ = self.limit.set(limit);
    }

    /// Publishes while holding the lock, so that nothing ends the run meanwhile; from then on it ends as a success. Does
    /// not return if the run is being ended, has received a signal or is past its time limit.
    pub fn publish<E>(
        &self,
        delivered: &Delivered,
        publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        if !self.may_publish() {
            drop(state);
            wait_for_the_end();
        }
        publish()?;
        state.details.commit = Some(delivered.commit.to_string());
        state.details.files = Some(delivered.files);
        state.details.bytes = Some(delivered.bytes);
        state.published = Some(report::success(delivered, self.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Records that another program changed the published directory: the run fails unless it publishes again.
    pub fn unpublished(&self) {
        self.lock().published = None;
    }

    /// Reports whether the run may still publish; only meaningful while the lock is held.
    fn may_publish(&self) -> bool {
        let in_time = self.limit.get().is_none_or(|limit| self.elapsed() < *limit);
        in_time && !self.stopping.load(Ordering::SeqCst) && !self.signaled.load(Ordering::SeqCst)
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

    /// Ends the process from another thread, unless `decide` returns `None`.
    pub fn end_process(&self, decide: impl FnOnce(&RunState) -> Option<(u8, Exit, String)>) {
        let mut state = self.lock();
        let Some((code, exit, message)) = decide(&state) else { return };
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        self.report(&mut state, exit, &message);
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
                termination::write(&self.termination_log, message, Details::new(Exit::InternalError));
            }
        }
        std::process::exit(Exit::InternalError.code().into());
    }

    /// Blocks for good if another thread is ending the run, so that nothing is written while that removes the staging
    /// directory.
    pub fn checkpoint(&self) {
        if self.stopping.load(Ordering::Relaxed) {
            wait_for_the_end();
        }
    }

    fn report(&self, state: &mut RunState, exit: Exit, message: &str) {
        state.details.reason = exit;
        state.details.ms = u64::try_from(self.elapsed().as_millis()).ok();
        termination::write(&self.termination_log, message, state.details.clone());
    }
}

fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

/// Removes the staging directory within the time that a run may take to end. The next run removes the rest.
fn remove_in_time(staging: &Path) {
    const LIMIT: Duration = Duration::from_millis(600);
    let staging = staging.to_owned();
    let (done, finished) = std::sync::mpsc::channel();
    thread::spawn(move || {
        // The working thread may be at its last file: what it adds is removed in a second pass.
        for _ in 0..3 {
            if publish::remove(&staging).is_ok() {
                break;
            }
        }
        done.send(())
    });
    // Late or not, the process ends now.
    let _ = finished.recv_timeout(LIMIT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::delivered;

    fn run() -> Run {
        Run::new("/dev/null".into(), Details::new(Exit::InternalError))
    }

    #[test]
    fn publishes_within_the_time_limit() {
        let run = run();
        run.set_limit(Duration::from_hours(1));
        let mut called = false;
        run.publish(&delivered(), || {
            called = true;
            Ok::<(), ()>(())
        })
        .unwrap();
        assert!(called && run.lock().published.is_some());
    }

    #[test]
    fn does_not_publish_once_the_run_is_ended_signaled_or_late() {
        let ended = run();
        ended.stopping.store(true, Ordering::SeqCst);
        let signaled = run();
        signaled.signaled().store(true, Ordering::SeqCst);
        let late = run();
        late.set_limit(Duration::ZERO);
        for (what, run) in [("ended", ended), ("signaled", signaled), ("late", late)] {
            let (published, was_published) = std::sync::mpsc::channel();
            let run = Arc::new(run);
            let worker = Arc::clone(&run);
            // Holding the lock makes the worker wait at the point between its own check and publishing.
            let state = run.lock();
            thread::spawn(move || worker.publish(&delivered(), || published.send(())));
            drop(state);
            assert!(!run.may_publish(), "{what}");
            assert!(was_published.recv_timeout(Duration::from_millis(20)).is_err(), "{what}");
        }
    }
}
