//! Faults between the program and the kernel, by strace: at exactly the N-th call of a kind.

use std::fs;

use super::{Ended, Fetch};

/// How a traced run ended.
pub struct Traced {
    /// The run itself.
    pub ended: Ended,
    /// Whether it came to that call.
    pub hit: bool,
}

impl Fetch {
    /// Runs it with this instead of the `number`-th system call of this name in any thread: `error=ENOSPC`,
    /// `signal=KILL`. (strace counts each thread's calls by themselves.)
    pub fn run_with(&self, call: &str, number: u32, instead: &str) -> Traced {
        let log = self.dir.path().join("strace");
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:{instead}:when={number}");
        let log_name = log.to_string_lossy().into_owned();
        let words = ["strace", "-f", "-qq", "-o", &log_name, "-e", &trace, "-e", &inject];
        let (ended, _) = self.run_by(words.map(str::to_owned).to_vec());
        let log = fs::read_to_string(&log).unwrap();
        Traced {
            ended,
            hit: log.contains("(INJECTED)") || log.contains("--- SIG") || log.contains("+++ killed"),
        }
    }
}
