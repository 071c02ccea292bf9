//! Suggestions for misspelt names. Pure.

use workflow_contract::text;

/// Minimum similarity of suggestions (Jaro-Winkler, 0..1).
const SIMILAR: f64 = 0.75;
/// Maximum number of compared characters: the server's list of names can be long.
const MAX_COMPARED: usize = 100_000_000;
/// Maximum number of suggestions.
const SUGGESTIONS: usize = 3;

/// Returns `; did you mean …?` with the closest names; empty if none is close.
pub fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wanted_folded = wanted.to_lowercase();
    // People often omit or add the part before the last slash.
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut compared = 0_usize;
    let mut close: Vec<(f64, &str)> = names
        .take_while(|name| {
            compared = compared.saturating_add(wanted.len().max(1).saturating_mul(name.len().max(1)));
            compared <= MAX_COMPARED
        })
        .map(|name| {
            let folded = name.to_lowercase();
            let whole = strsim::jaro_winkler(&wanted_folded, &folded);
            let same_last = last(&wanted_folded) == last(&folded);
            (if same_last { whole.max(0.95) } else { whole }, name)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    close.dedup_by(|a, b| a.1 == b.1);
    let close: Vec<String> =
        close.iter().take(SUGGESTIONS).map(|(_, name)| format!("`{}`", text::sanitize(name))).collect();
    match close.as_slice() {
        [] => String::new(),
        [only] => format!("; did you mean {only}?"),
        [others @ .., last] => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_at_most_three_names() {
        let names = ["main1", "main2", "main3", "main4"];
        assert_eq!(did_you_mean("main", names.into_iter()), "; did you mean `main1`, `main2` or `main3`?");
        assert_eq!(did_you_mean("xyz", names.into_iter()), "");
    }
}
