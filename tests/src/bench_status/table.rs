//! Measured values and their limits.

use std::fmt;
use std::time::Duration;

struct Row {
    what: String,
    measured: String,
    limit: String,
    holds: bool,
}

/// Measured values, each with its limit.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Reports whether every value is within its limit.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds)
    }

    pub(super) fn time(&mut self, what: &str, measured: Duration, limit: Duration) {
        self.row(
            what,
            format!("{} ms", measured.as_millis()),
            format!("{} ms", limit.as_millis()),
            measured <= limit,
        );
    }

    pub(super) fn memory(&mut self, what: &str, bytes: u64, limit: u64) {
        let mib = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
        self.row(what, mib(bytes), mib(limit), bytes <= limit);
    }

    /// A quotient, to two decimals.
    pub(super) fn ratio(&mut self, what: &str, of: usize, by: usize, limit: usize) {
        let hundredths = (of * 100).div_ceil(by.max(1));
        let measured = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        self.row(what, measured, limit.to_string(), of <= limit * by);
    }

    /// A value without a limit.
    pub(super) fn note(&mut self, what: &str, measured: String) {
        self.row(what, measured, String::new(), true);
    }

    fn row(&mut self, what: &str, measured: String, limit: String, holds: bool) {
        self.rows.push(Row { what: what.to_owned(), measured, limit, holds });
    }
}

impl fmt::Display for Table {
    /// A table in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | at most | |\n|---|---|---|---|")?;
        for Row { what, measured, limit, holds } in &self.rows {
            let verdict = match (limit.is_empty(), holds) {
                (true, _) => "",
                (false, true) => "holds",
                (false, false) => "MISSED",
            };
            writeln!(f, "| {what} | {measured} | {limit} | {verdict} |")?;
        }
        Ok(())
    }
}

/// The value that this share of the times does not exceed; `share` in percent.
pub(super) fn percentile(times: &mut [Duration], share: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * share).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&mut times, 100), Duration::from_millis(200));
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
    }

    #[test]
    fn one_missed_limit_is_a_failure() {
        let mut table = Table::default();
        table.ratio("calls", 300, 100, 3);
        table.note("pods", "1".to_owned());
        assert!(table.holds());
        table.memory("memory", 64_100_001, 64_000_000);
        assert!(!table.holds());
        assert!(table.to_string().contains("| memory | 64.1 MB | 64.0 MB | MISSED |"));
        assert!(table.to_string().contains("| calls | 3.00 | 3 | holds |"));
    }
}
