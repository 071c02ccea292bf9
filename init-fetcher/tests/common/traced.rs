//! Faults between the program and the kernel, by strace: at exactly the N-th call of a kind.

use std::fs;

use super::{Ended, Fetch};

/// Outcome of a traced run.
pub struct Traced {
    /// The run itself.
    pub ended: Ended,
    /// True if it reached that call.
    pub hit: bool,
}

impl Fetch {
    /// Runs it with this instead of the `number`-th system call of this name in any thread: `error=ENOSPC`,
    /// `signal=KILL`. (strace counts each thread's calls by themselves.)
    pub fn run_with(&self, call: &str, number: u32, instead: &str) -> Traced {
        self.run_with_all(&[(call, &format!("{instead}:when={number}"))])
    }

    /// The same for several calls, in strace's own words.
    pub fn run_with_all(&self, instead: &[(&str, &str)]) -> Traced {
        let log = self.dir.path().join("strace");
        let calls: Vec<&str> = instead.iter().map(|(call, _)| *call).collect();
        let mut words =
            ["strace", "-f", "-qq", "-o", &log.to_string_lossy(), "-e"].map(str::to_owned).to_vec();
        words.push(format!("trace={}", calls.join(",")));
        for (call, instead) in instead {
            words.extend(["-e".to_owned(), format!("inject={call}:{instead}")]);
        }
        let (ended, _) = self.run_by(words);
        let log = fs::read_to_string(&log).unwrap();
        Traced { ended, hit: ["(INJECTED)", "--- SIG", "+++ killed"].iter().any(|mark| log.contains(mark)) }
    }
}
