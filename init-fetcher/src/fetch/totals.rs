//! Counts of a delivery over the repository and its submodules.

use workflow_contract::text;

use super::attempt::Fetched;
use crate::report::{LinkSummary, SubmoduleSummary};
use crate::tree::plan::Used;

#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub received: u64,
    pub used: Used,
    pub lfs_pointers: u64,
    pub links: LinkSummary,
    pub submodules: SubmoduleSummary,
}

impl Totals {
    /// Adds a repository; `path` is that of the submodule, empty for the first one.
    pub fn add(&mut self, fetched: &Fetched, path: &str) {
        let sanitized = |first: &Option<String>| {
            let first = first.as_ref()?;
            let of = if path.is_empty() { String::new() } else { format!(" in `{}`", text::sanitize(path)) };
            Some(format!("{first}{of}"))
        };
        let plan = &fetched.plan;
        self.used.files += plan.files;
        self.used.bytes = self.used.bytes.saturating_add(plan.bytes);
        self.used.directories += plan.directories;
        self.lfs_pointers += fetched.written.lfs_pointers;
        self.links.replaced += plan.replaced;
        self.links.skipped += plan.skipped.len() as u64;
        self.links.first_replaced =
            self.links.first_replaced.take().or_else(|| sanitized(&plan.first_replaced));
        self.links.first_skipped = self.links.first_skipped.take().or_else(|| sanitized(&plan.first_skipped));
        let left = |source: &[u8]| !fetched.submodules.iter().any(|one| one.source.as_bytes() == source);
        let mut empty = plan.submodules.iter().filter(|one| left(&one.source));
        if let Some(first) = empty.next() {
            let name = format!("`{}`", crate::tree::shown(&first.source));
            self.submodules.empty += 1 + empty.count() as u64;
            self.submodules.first_empty =
                self.submodules.first_empty.take().or_else(|| sanitized(&Some(name)));
        }
        self.submodules.fetched += fetched.submodules.len() as u64;
    }
}
