//! The table, as Markdown.

use std::fmt::Write as _;

use crate::programs::Measured;

/// What was measured of one repository, directory and round-trip time.
pub struct Row {
    pub repository: &'static str,
    pub path: String,
    /// Milliseconds.
    pub round_trip: u64,
    /// Share of git clone's time that is allowed.
    pub limit: f64,
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
        format!(
            "| {} | {} | {} ms | {fetcher:.0} | {clone:.0} | {sparse} | **{ratio:.3}** | {} {} | {floor:.0} ({:.3}) | {:.0} | {:.1} | {} |",
            self.repository,
            if self.path.is_empty() { "whole" } else { "sub-path" },
            self.round_trip,
            self.limit,
            if ratio <= self.limit { "met" } else { "MISSED" },
            floor / clone,
            median(self.fetcher.iter().map(|measured| measured.cpu).collect()),
            self.fetcher.iter().map(|measured| measured.memory).fold(0.0, f64::max) / 1024.0,
            self.round_trips,
        )
    }
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
