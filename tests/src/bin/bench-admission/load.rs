//! The generator: wrk with our script.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::handler::Handler;

/// What wrk saw.
#[derive(Debug, Deserialize)]
pub struct Load {
    /// Requests that were answered.
    pub requests: u64,
    /// Length of the run.
    pub duration_us: u64,
    /// Median of the times to an answer.
    pub p50_us: u64,
    /// Their 99th percentile.
    pub p99_us: u64,
    /// Errors of connections, and answers that were no success.
    failed: u64,
}

/// How reviews are posted.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Connections at once.
    pub connections: u32,
    /// Between an answer and the next review, on each connection; the mean.
    pub pause: Duration,
}

impl Pace {
    /// As fast as answers come.
    pub fn full(connections: u32) -> Self {
        Self { connections, pause: Duration::ZERO }
    }

    /// About so many reviews a second, of a handler that answers at once.
    pub fn of_rate(connections: u32, rate: f64) -> anyhow::Result<Self> {
        let pause = Duration::try_from_secs_f64(f64::from(connections) / rate);
        Ok(Self { connections, pause: pause.with_context(|| format!("{rate} reviews a second"))? })
    }
}

/// Posts reviews for so many seconds; wrk takes no fractions.
pub fn run(
    handler: &Handler,
    script: &Path,
    reviews: &Path,
    pace: Pace,
    seconds: u32,
) -> anyhow::Result<Load> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &pace.connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "10s", "--script"])
        .arg(script)
        .args([&handler.url(), "--"])
        .arg(reviews)
        .arg(format!("{:.3}", pace.pause.as_secs_f64() * 1000.0))
        .output()
        .context("wrk could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let load: Load = serde_json::from_str(line)
        .with_context(|| format!("wrk says\n{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(load.failed == 0, "{} requests failed", load.failed);
    Ok(load)
}
