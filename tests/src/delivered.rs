//! Compares the files that a runner found with git's own listing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::Context;
use session_runner::{FileEntry, FileKind, Record};
use workflow_git_server::Repository;

use crate::runner::Runner;

/// Files and symlinks by path: git's mode and the blob's id.
pub type Tree = BTreeMap<String, (String, String)>;

/// The tree of `revision`, a branch, a tag or `BRANCH:DIRECTORY`, as git lists it.
pub fn expected(repository: &Repository, revision: &str) -> anyhow::Result<Tree> {
    Ok(parse(&repository.git(&["ls-tree", "-r", "-z", revision])?))
}

/// The files, without those of `.git`, that the runner found at its first instruction in `directory` of its workflow
/// directory; `None` if there is no such directory.
pub fn found(record: &Record, directory: &str) -> Option<Tree> {
    let entries = below(record, directory)?;
    let files = entries.into_iter().filter(|(path, _)| *path != ".git" && !path.starts_with(".git/"));
    Some(
        files
            .filter(|(_, entry)| entry.kind != FileKind::Directory)
            .map(|(path, entry)| (path.to_owned(), (git_mode(entry), entry.blob.clone().unwrap_or_default())))
            .collect(),
    )
}

/// Reports whether the runner found `.git` in `directory`.
pub fn has_git_directory(record: &Record, directory: &str) -> bool {
    below(record, directory).is_some_and(|entries| entries.iter().any(|(path, _)| *path == ".git"))
}

/// Copies `directory` of the runner's workflow directory to `into`, so that git can be run on it.
pub async fn copy(runner: &Runner, record: &Record, directory: &str, into: &Path) -> anyhow::Result<()> {
    for (path, entry) in below(record, directory).context("the runner found no such directory")? {
        let target = into.join(path);
        match entry.kind {
            FileKind::Directory => fs::create_dir_all(&target)?,
            FileKind::Symlink => symlink(entry.text.as_deref().unwrap_or_default(), &target)?,
            FileKind::File => {
                fs::write(&target, runner.file(&entry_path(directory, path)).await?)?;
                fs::set_permissions(&target, fs::Permissions::from_mode(entry.mode))?;
            }
            FileKind::Other => anyhow::bail!("{path} is neither file, directory nor symlink"),
        }
    }
    Ok(())
}

fn entry_path(directory: &str, path: &str) -> String {
    format!("{directory}/{path}")
}

fn below<'a>(record: &'a Record, directory: &str) -> Option<Vec<(&'a str, &'a FileEntry)>> {
    let files = record.files.as_ref()?;
    files.iter().find(|entry| entry.path == directory && entry.kind == FileKind::Directory)?;
    let prefix = format!("{directory}/");
    Some(files.iter().filter_map(|entry| Some((entry.path.strip_prefix(&prefix)?, entry))).collect())
}

/// git's mode of an entry whose group has the user's permissions; otherwise the entry's own mode in octal.
fn git_mode(entry: &FileEntry) -> String {
    match (entry.kind, entry.mode) {
        (FileKind::File, 0o664) => "100644".to_owned(),
        (FileKind::File, 0o775) => "100755".to_owned(),
        (FileKind::Symlink, _) => "120000".to_owned(),
        (kind, mode) => format!("{kind:?} {mode:o}"),
    }
}

/// Reads `git ls-tree -r -z`: `MODE TYPE BLOB<tab>PATH<nul>`.
fn parse(listing: &str) -> Tree {
    let entry = |line: &str| {
        let (about, path) = line.split_once('\t')?;
        let mut about = about.split(' ');
        let (mode, blob) = (about.next()?, about.nth(1)?);
        Some((path.to_owned(), (mode.to_owned(), blob.to_owned())))
    };
    listing.split('\0').filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        let entry = |path: &str, kind: &str, mode: u32| json!({ "path": path, "kind": kind, "mode": mode, "uid": 1001, "gid": 0, "size": 0, "blob": "b" });
        serde_json::from_value(json!({
            "startedAtMs": 0,
            "files": [
                entry("flow", "directory", 0o775),
                entry("flow/.git", "directory", 0o775),
                entry("flow/.git/HEAD", "file", 0o664),
                entry("flow/.github", "file", 0o664),
                entry("flow/a", "directory", 0o775),
                entry("flow/a/link", "symlink", 0o777),
                entry("flow/a/run", "file", 0o775),
                entry("flow/private", "file", 0o600),
                entry("flower", "file", 0o664),
            ],
            "error": null, "variables": [], "values": {},
        }))
        .unwrap()
    }

    #[test]
    fn finds_the_files_that_git_lists() {
        let found = found(&record(), "flow").unwrap();
        let modes: Vec<_> = found.iter().map(|(path, (mode, _))| (path.as_str(), mode.as_str())).collect();
        assert_eq!(
            modes,
            [(".github", "100644"), ("a/link", "120000"), ("a/run", "100755"), ("private", "File 600")]
        );
    }

    #[test]
    fn distinguishes_a_missing_from_an_empty_directory() {
        assert_eq!(found(&record(), "none"), None);
        assert_eq!(found(&record(), "flower"), None);
        assert!(has_git_directory(&record(), "flow"));
        assert!(!has_git_directory(&record(), "flow/a"));
    }

    #[test]
    fn parses_the_output_of_ls_tree() {
        let tree = parse("100644 blob 0aa\ta b\x00120000 blob 0bb\tc\x00");
        assert_eq!(tree["a b"], ("100644".to_owned(), "0aa".to_owned()));
        assert_eq!(tree["c"], ("120000".to_owned(), "0bb".to_owned()));
    }
}
