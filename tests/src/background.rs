//! Programs of `target/cluster/bin` that run beside a test.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::Context;

use crate::api_server::spawn;

/// A program. It is killed when this is dropped, and by the kernel when the process ends.
#[must_use = "the program is killed when this is dropped"]
pub struct Background {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts a program, which logs to `NAME.log` in the directory `logs`.
    pub(crate) fn start(
        program: &'static str,
        flags: Vec<(&'static str, String)>,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let (started, outcome) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let logs = logs.to_owned();
        // The kernel kills the program together with the thread that starts it.
        let thread = thread::Builder::new().name(program.to_owned()).spawn(move || {
            let (mut child, result) = match spawn(program, &flags, &logs) {
                Ok(child) => (Some(child), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // A receiver that is gone belongs to a process that ends.
            let _ = started.send(result);
            if let Some(child) = &mut child {
                // Ends when the sender is dropped.
                let _: Result<(), _> = stopped.recv();
                let _ = child.kill().and_then(|()| child.wait());
            }
        })?;
        outcome.recv().with_context(|| format!("the thread of {program} ended"))??;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
