//! Server processes that end with their handle, and with the test process even when that is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::error::GitServerError;

/// A running server. Dropping it kills the server.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// The beginning of a command for [`start`](Self::start), to which program and arguments are added.
    ///
    /// The kernel ends the program when the thread that started it ends.
    pub(crate) fn command() -> Command {
        // Users other than root seldom have the directory of system programs in their PATH.
        let path = format!("{}:/usr/sbin:/usr/bin:/bin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts a server and waits until `ready` gives something for a line of its stderr.
    pub(crate) fn start<T: Send + 'static>(
        program: &'static str,
        mut command: Command,
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T), GitServerError> {
        let spawn_failed = move |source| GitServerError::Run { program, source };
        command.stderr(Stdio::piped());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (started, starting) = mpsc::channel();
        let log_writer = Arc::clone(&log);
        // The thread that starts the server reads its log, and so lives as long as the server does.
        let guardian = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(spawn_failed(error)))),
            };
            // The command may hold a listening socket; a server that ended must not leave a port that accepts.
            drop(command);
            let stderr = child.stderr.take();
            let mut child = Some(child);
            for line in stderr.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok)
            {
                let is_ready = ready(&line);
                log_writer.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                if let Some(facts) = is_ready
                    && let Some(child) = child.take()
                {
                    let _ = started.send(Ok((child, facts)));
                }
            }
            if let Some(mut child) = child {
                let _ = child.wait();
                let output = log_writer.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
                let _ = started.send(Err(GitServerError::NotServing { program, output }));
            }
        };
        std::thread::Builder::new()
            .name("git-server-log".to_owned())
            .spawn(guardian)
            .map_err(spawn_failed)?;
        let (child, facts) = starting.recv().unwrap_or_else(|_| {
            Err(GitServerError::NotServing { program, output: "its log ended".to_owned() })
        })?;
        Ok((Self { child, log }, facts))
    }

    /// Returns the server's stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
