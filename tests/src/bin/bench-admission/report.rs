//! Medians, the table, and the evaluation of the limits.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::handler::HandlerKind;
use crate::load::WrkResult;

/// Connections at which the limits apply.
const LIMIT_CONNECTIONS: u32 = 8;

/// Maximum CPU of the injector without lookup, relative to the bare handler.
const CPU_FIXED: f64 = 1.5;
/// Maximum CPU of the injector with live lookup, relative to the bare handler.
const CPU_LIVE: f64 = 4.0;
/// Maximum p99 of the injector without lookup, relative to the bare handler.
const P99: f64 = 2.0;
/// Maximum memory in MiB of the idle injector with caches for 1,000 sessions.
const IDLE: f64 = 12.0;
/// Minimum CPU of controller-runtime, relative to the injector, both without lookup.
const CONTROLLER_RUNTIME: f64 = 5.0;

/// One run of one handler.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    cpu: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    idle: f64,
}

impl Measured {
    /// From wrk's result, the handler's CPU time, and its memory before the run, in KiB.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn new(load: &WrkResult, cpu: Duration, idle: u64) -> Self {
        Self {
            cpu: cpu.as_secs_f64() * 1000.0 / load.requests as f64,
            rate: load.requests as f64 * 1e6 / load.duration_us as f64,
            p50: load.p50_us as f64 / 1000.0,
            p99: load.p99_us as f64 / 1000.0,
            idle: idle as f64 / 1024.0,
        }
    }
}

/// All runs.
pub struct BenchReport {
    reviews: (usize, usize),
    patch: usize,
    runs: BTreeMap<(HandlerKind, u32), Vec<Measured>>,
}

impl BenchReport {
    /// Of reviews of these sizes and responses with a patch of this one, in bytes.
    pub fn new(reviews: (usize, usize), patch: usize) -> Self {
        Self { reviews, patch, runs: BTreeMap::new() }
    }

    /// Adds a run.
    pub fn add(&mut self, kind: HandlerKind, connections: u32, measured: Measured) {
        self.runs.entry((kind, connections)).or_default().push(measured);
    }

    /// Prints the report, and writes it to a file.
    #[expect(clippy::print_stdout, reason = "it is what the command is for")]
    pub fn publish(&self, file: &Path) -> anyhow::Result<()> {
        let text = self.render()?;
        std::fs::write(file, &text)?;
        println!("{text}");
        Ok(())
    }

    fn median(&self, kind: HandlerKind, connections: u32, of: impl Fn(&Measured) -> f64) -> f64 {
        let mut values: Vec<f64> =
            self.runs.get(&(kind, connections)).into_iter().flatten().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let (smallest, largest) = self.reviews;
        writeln!(text, "Reviews of {smallest} to {largest} bytes, patches of about {} bytes.\n", self.patch)?;
        writeln!(
            text,
            "| handler | connections | CPU s per 1,000 | relative to the bare handler | reviews/s | p50 ms | p99 ms | idle RSS MiB |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        for &(kind, connections) in self.runs.keys() {
            let of = |of: fn(&Measured) -> f64| self.median(kind, connections, of);
            let cpu = of(|run| run.cpu);
            writeln!(
                text,
                "| {} | {connections} | {cpu:.3} | {:.2} | {:.0} | {:.2} | {:.2} | {:.1} |",
                kind.name(),
                cpu / self.median(HandlerKind::Bare, connections, |run| run.cpu),
                of(|run| run.rate),
                of(|run| run.p50),
                of(|run| run.p99),
                of(|run| run.idle),
            )?;
        }
        writeln!(text, "\nLimits, at {LIMIT_CONNECTIONS} connections:\n")?;
        let in_bare = |kind, of: fn(&Measured) -> f64| {
            self.median(kind, LIMIT_CONNECTIONS, of) / self.median(HandlerKind::Bare, LIMIT_CONNECTIONS, of)
        };
        for (what, found, limit, unit) in [
            ("CPU without lookup", in_bare(HandlerKind::Fixed, |run| run.cpu), CPU_FIXED, "x bare handler"),
            ("CPU with live lookup", in_bare(HandlerKind::Live, |run| run.cpu), CPU_LIVE, "x bare handler"),
            ("p99 without lookup", in_bare(HandlerKind::Fixed, |run| run.p99), P99, "x bare handler"),
            (
                "idle RSS, 1,000 sessions",
                self.median(HandlerKind::Live, LIMIT_CONNECTIONS, |run| run.idle),
                IDLE,
                "MiB",
            ),
        ] {
            let verdict = if found <= limit { "holds" } else { "MISSED" };
            writeln!(text, "- {what}: {found:.2} {unit}, at most {limit}: {verdict}")?;
        }
        let cpu = |kind| self.median(kind, LIMIT_CONNECTIONS, |run| run.cpu);
        let factor = cpu(HandlerKind::ControllerRuntime) / cpu(HandlerKind::Fixed);
        let verdict = if factor >= CONTROLLER_RUNTIME { "holds" } else { "MISSED" };
        writeln!(
            text,
            "- CPU of controller-runtime: {factor:.2} x the injector's, at least {CONTROLLER_RUNTIME}: {verdict}"
        )?;
        let live = cpu(HandlerKind::ControllerRuntimeLive) / cpu(HandlerKind::Live);
        writeln!(text, "- with live lookup: {live:.2} x the injector's")?;
        Ok(text)
    }
}
