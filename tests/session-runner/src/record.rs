//! The record of a runner: its files and variables at its first instruction.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::listing::{FileEntry, list};

/// The directory that a runner reads workflows from.
pub const WORKFLOWS: &str = "/workspace/workflows";

/// The variables whose values are recorded; of all others, which may be secrets, only the name.
pub const VALUES: [&str; 5] = [
    "ACTIVE_WORKFLOW_GIT_URL",
    "ACTIVE_WORKFLOW_BRANCH",
    "ACTIVE_WORKFLOW_PATH",
    "IS_RESUME",
    "INITIAL_PROMPT",
];

/// Files and variables at the start of the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Time of the record, in milliseconds of Unix time.
    pub started_at_ms: u64,
    /// Everything below [`WORKFLOWS`]; `None` if there is no such directory.
    pub files: Option<Vec<FileEntry>>,
    /// The error if the directory could not be listed.
    pub error: Option<String>,
    /// The names of all environment variables, sorted.
    pub variables: Vec<String>,
    /// The values of those in [`VALUES`] that are set.
    pub values: BTreeMap<String, String>,
}

/// A POST that the runner received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub path: String,
    pub body: String,
}

/// Takes the record of `directory` and `environment`, now.
pub fn take(directory: &Path, environment: impl Iterator<Item = (String, String)>) -> Record {
    let (files, error) = match list(directory) {
        Ok(files) => (Some(files), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let environment: BTreeMap<String, String> = environment.collect();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Record {
        started_at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        files,
        error,
        variables: environment.keys().cloned().collect(),
        values: environment.into_iter().filter(|(name, _)| VALUES.contains(&name.as_str())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> impl Iterator<Item = (String, String)> {
        [("BOT_TOKEN", "secret"), ("IS_RESUME", "true"), ("A", "b")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    #[test]
    fn records_names_of_all_variables_and_values_of_harmless_ones() {
        let directory = tempfile::tempdir().unwrap();
        let record = take(directory.path(), environment());
        assert_eq!(record.variables, ["A", "BOT_TOKEN", "IS_RESUME"]);
        assert_eq!(record.values, BTreeMap::from([("IS_RESUME".to_owned(), "true".to_owned())]));
        assert!(!serde_json::to_string(&record).unwrap().contains("secret"));
    }

    #[test]
    fn distinguishes_a_missing_directory_from_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(take(directory.path(), environment()).files, Some(Vec::new()));
        assert_eq!(take(&directory.path().join("none"), environment()).files, None);
    }
}
