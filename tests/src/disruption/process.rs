//! Processes of the local node, found by their cgroup, so that no other process of the same name is ever taken for one
//! of them.

use std::fs;
use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::memory::Memory;

/// Cgroup of the node (`tests/cluster/cgroup.sh`).
const NODE: &str = "workflow-injector-node";
const INJECTOR: &str = "workflow-injector";
const API_SERVER: &str = "kube-apiserver";

/// The injector's process in this replica.
pub(super) fn of_replica(pod: &Pod) -> Option<Pid> {
    let uid = pod.uid()?;
    find(INJECTOR, |cgroup| cgroup.contains(&uid))
}

/// The node's API server.
pub(super) fn api_server() -> Option<Pid> {
    find(API_SERVER, |cgroup| cgroup.contains(NODE))
}

/// Sends SIGKILL.
pub(super) fn kill(process: Pid) -> anyhow::Result<()> {
    kill_process(process, Signal::KILL).with_context(|| format!("kill process {}", process.as_raw_nonzero()))
}

/// Resident memory in bytes; `None` if the process has ended.
pub(super) fn memory(process: Pid) -> Option<u64> {
    let id = u32::try_from(process.as_raw_nonzero().get()).ok()?;
    Memory::of(id).ok().map(|memory| memory.now)
}

fn find(program: &str, is_in: impl Fn(&str) -> bool) -> Option<Pid> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let id = ids.find(|id| {
        // The process may end at any time.
        runs(*id, program)
            && fs::read_to_string(format!("/proc/{id}/cgroup")).is_ok_and(|cgroup| is_in(&cgroup))
    })?;
    Pid::from_raw(id)
}

fn runs(id: i32, program: &str) -> bool {
    let first = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let first = first.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(first)
        .is_ok_and(|path| Path::new(path).file_name().is_some_and(|name| name == program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_processes_of_other_cgroups() {
        assert_eq!(find(API_SERVER, |_| false), None);
    }
}
