//! The table, as Markdown.

use std::fmt::Write as _;

use crate::programs::Measured;

/// Limits of one row.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Share of git clone's time, if it is limited.
    pub ratio: Option<f64>,
    /// MiB.
    pub memory: f64,
    pub round_trips: u32,
}

/// Measurements of one repository, directory and round-trip time.
pub struct Row {
    pub repository: &'static str,
    pub path: String,
    /// Milliseconds.
    pub round_trip: u128,
    pub limits: Limits,
    pub fetcher: Vec<Measured>,
    pub clone: Vec<Measured>,
    pub sparse: Vec<Measured>,
    /// Milliseconds.
    pub floor: Vec<f64>,
    pub round_trips: u32,
}

impl Row {
    /// One line of the table.
    pub fn line(&self) -> String {
        let (fetcher, clone) = (wall(&self.fetcher), wall(&self.clone));
        let sparse = if self.sparse.is_empty() {
            "–".to_owned()
        } else {
            format!("{:.0} ({:.2})", wall(&self.sparse), wall(&self.sparse) / clone)
        };
        let ratio = fetcher / clone;
        let floor = median(self.floor.clone());
        let memory = self.fetcher.iter().map(|measured| measured.memory).fold(0.0, f64::max) / 1024.0;
        let limit = self
            .limits
            .ratio
            .map_or("–".to_owned(), |limit| format!("{limit} {}", verdict(ratio <= limit)));
        format!(
            "| {} | {} | {} ms | {fetcher:.0} | {clone:.0} | {sparse} | **{ratio:.3}** | {limit} | {floor:.0} ({:.3}) | {:.0} | {memory:.1} {} | {} {} |",
            self.repository,
            if self.path.is_empty() { "whole" } else { "sub-path" },
            self.round_trip,
            floor / clone,
            median(self.fetcher.iter().map(|measured| measured.cpu).collect()),
            verdict(memory <= self.limits.memory),
            self.round_trips,
            verdict(self.round_trips <= self.limits.round_trips),
        )
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// All rows.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::from(
        "| repository | wanted | RTT | init-fetcher, ms | git clone, ms | partial + sparse, ms (ratio) | ratio | limit | server alone, ms (ratio) | CPU, ms | peak RSS, MiB | round trips after TLS |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    text
}

fn wall(measured: &[Measured]) -> f64 {
    median(measured.iter().map(|measured| measured.wall).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
