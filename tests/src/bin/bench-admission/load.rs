//! The generator: wrk with our script.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::handler::Handler;

/// The result of a run of wrk.
#[derive(Debug, Deserialize)]
pub struct WrkResult {
    /// Requests that were answered.
    pub requests: u64,
    /// Length of the run.
    pub duration_us: u64,
    /// Median of the times to a response.
    pub p50_us: u64,
    /// Their 99th percentile.
    pub p99_us: u64,
    /// Errors of connections, and responses that were no success.
    failed: u64,
}

/// Posts reviews for so many seconds; wrk takes no fractions.
pub fn run(
    handler: &Handler,
    script: &Path,
    reviews: &Path,
    connections: u32,
    seconds: u32,
) -> anyhow::Result<WrkResult> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "10s", "--script"])
        .arg(script)
        .args([&handler.url(), "--"])
        .arg(reviews)
        .output()
        .context("wrk could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let load: WrkResult = serde_json::from_str(line)
        .with_context(|| format!("wrk printed\n{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(load.failed == 0, "{} requests failed", load.failed);
    Ok(load)
}
