//! The cases that each server goes through.

use std::path::Path;

use workflow_contract::Exit;
use workflow_git_server::{Repository, RepositoryBuilder};

use crate::common::{Ended, Fetch, Listing, git, git_says, of_disk, of_git_dir};

/// One repository on a server, and how it is reached there.
pub struct Served<'a> {
    /// The repository on disk.
    pub repository: Repository,
    pub url: String,
    /// Makes a run for a URL.
    pub fetch: Box<dyn Fn(&str) -> Fetch + 'a>,
    /// Variables that git needs to reach the server.
    pub git: Vec<(&'static str, String)>,
}

/// A repository with every kind of entry and ref.
pub fn content(builder: RepositoryBuilder) -> Repository {
    let noise: Vec<u8> = (0_u32..40_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let repository = builder
        .file("README.md", "# Flow\n")
        .file("flows/review/prompt.md", "one\n")
        .commit("first")
        .file("flows/review/prompt.md", "two\n")
        .executable("flows/review/run.sh", "#!/bin/sh\n")
        .symlink("flows/review/latest", "prompt.md")
        .file("flows/noise", noise)
        .file("empty", "")
        .tag("v1")
        .branch("dev")
        .file("flows/dev.txt", "dev\n")
        .create()
        .unwrap();
    git_says(repository.path(), &["tag", "-m", "annotated", "v2", "dev"]);
    repository
}

impl Served<'_> {
    /// Delivers whole and in part by branch, tag and commit id, and compares with a clone by git.
    pub fn delivers(&self) {
        let clone = self.clone_by_git();
        let commit = self.repository.commit("main").unwrap();
        let mut failures = Vec::new();
        for (revision, path) in [
            ("main", ""),
            ("main", "flows/review"),
            ("dev", "flows"),
            ("v1", ""),
            ("v1", "flows/review"),
            ("v2", "flows"),
            (&commit, ""),
            (&commit, "flows/review"),
        ] {
            let fetch = (self.fetch)(&self.url).branch(revision).path(path);
            let ended = fetch.run();
            let case = format!("{revision} {path:?}");
            if ended.code != 0 {
                failures.push(format!("{case}: {}{}", ended.message, ended.stderr));
                continue;
            }
            let place = fetch.root().join(self.name());
            if of_disk(&place) != of_clone(clone.path(), revision, path) {
                failures.push(format!("{case}: contents differ from git's"));
            } else if path.is_empty() && !git_says(&place, &["status", "--porcelain"]).is_empty() {
                failures.push(format!("{case}: git status is not clean"));
            } else if ended.details().attempts != Some(1) {
                failures.push(format!("{case}: {:?} attempts: {}", ended.details().attempts, ended.stderr));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// Runs for a ref or path that does not exist; checks the exit code and gives the run.
    pub fn fails(&self, revision: &str, path: &str, exit: Exit) -> Ended {
        let ended = (self.fetch)(&self.url).branch(revision).path(path).run();
        ended.expect(exit);
        ended
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap().trim_end_matches(".git")
    }

    /// A bare clone of everything, over the same server.
    fn clone_by_git(&self) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let output = git(None)
            .envs(self.git.iter().map(|(name, value)| (*name, value.as_str())))
            .args(["clone", "--quiet", "--mirror", &self.url])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "git clone: {}", String::from_utf8_lossy(&output.stderr));
        directory
    }
}

fn of_clone(clone: &Path, revision: &str, path: &str) -> Listing {
    of_git_dir(clone, revision, path)
}
