//! Memory of a process, as the kernel counts it.

use std::fs;

use anyhow::Context;

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Memory {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Self::from_status(&status).with_context(|| format!("process {process} has no memory figures"))
    }

    /// Reads `/proc/PID/status`, see `man 5 proc`.
    fn from_status(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resident_memory() {
        let status = "Name:\tx\nVmHWM:\t    16384 kB\nVmRSS:\t   12288 kB\nThreads:\t1\n";
        assert_eq!(Memory::from_status(status), Some(Memory { now: 12 << 20, peak: 16 << 20 }));
        assert_eq!(Memory::from_status("Name:\tkthreadd\n"), None, "a kernel thread");
    }
}
