//! Repositories of a server, made step by step by the tests themselves.

use std::path::{Path, PathBuf};

use crate::error::GitServerError;
use crate::git;
use crate::import::{Start, Step, stream};
use crate::profile::Profile;

/// The branch that `HEAD` names, and that the first commits go to.
const DEFAULT_BRANCH: &str = "main";

/// Describes a repository, or an addition to one; [`create`](Self::create) makes it.
///
/// Steps happen in the order given. What was written since the last commit becomes one at the next branch or tag, or
/// at the end.
#[must_use = "nothing happens before `create`"]
pub struct RepositoryBuilder {
    repository: Repository,
    branch: String,
    profile: Option<Profile>,
    sha256: bool,
    steps: Vec<Step>,
}

/// A bare repository that the server serves.
#[derive(Clone, Debug)]
pub struct Repository {
    url: String,
    path: PathBuf,
}

impl RepositoryBuilder {
    pub(crate) fn new(url: String, path: PathBuf) -> Self {
        Self {
            repository: Repository { url, path },
            branch: DEFAULT_BRANCH.to_owned(),
            profile: Some(Profile::default()),
            sha256: false,
            steps: Vec::new(),
        }
    }

    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.entry(path, "100644", content.into())
    }

    /// Writes an executable file.
    pub fn executable(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.entry(path, "100755", content.into())
    }

    /// Writes a symlink; `target` is not looked at.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, "120000", target.into())
    }

    /// Writes a submodule: a commit of another repository. `.gitmodules` is a file like others.
    pub fn submodule(self, path: &str, commit: &str) -> Self {
        self.step(Step::Submodule { path: path.to_owned(), commit: commit.to_owned() })
    }

    /// Removes a file, a symlink or a whole directory.
    pub fn remove(self, path: &str) -> Self {
        self.step(Step::Remove { path: path.to_owned() })
    }

    /// Commits, even if nothing changed.
    pub fn commit(self, message: &str) -> Self {
        self.step(Step::Commit { message: message.to_owned() })
    }

    /// Starts a branch here; what follows goes to it.
    pub fn branch(self, name: &str) -> Self {
        self.step(Step::Branch { name: name.to_owned() })
    }

    /// Tags this commit (a lightweight tag).
    pub fn tag(self, name: &str) -> Self {
        self.step(Step::Tag { name: name.to_owned() })
    }

    /// Sets the filters that the server allows.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Names objects by SHA-256.
    pub fn sha256(mut self) -> Self {
        self.sha256 = true;
        self
    }

    /// Makes it all happen, in one go.
    pub fn create(self) -> Result<Repository, GitServerError> {
        let repository = self.repository;
        if !repository.path.join("HEAD").exists() {
            let path = repository.path.to_string_lossy();
            let initial = format!("--initial-branch={DEFAULT_BRANCH}");
            // The empty template keeps the machine's sample hooks out.
            let format = if self.sha256 { "--object-format=sha256" } else { "--object-format=sha1" };
            git::run(None, &["init", "--quiet", "--bare", "--template=", format, &initial, &path], b"")?;
        }
        if let Some(profile) = self.profile {
            repository.configure(profile, self.sha256)?;
        }
        let start = Start {
            branch: &self.branch,
            exists: repository.commit(&self.branch).is_ok(),
            commits: repository.commits()?,
        };
        let history = stream(&start, &self.steps);
        git::run(Some(&repository.path), &["fast-import", "--quiet", "--force"], &history)?;
        Ok(repository)
    }

    fn entry(self, path: &str, mode: &'static str, content: Vec<u8>) -> Self {
        self.step(Step::Entry { path: path.to_owned(), mode, content })
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Repository {
    /// The URL to fetch it from; it ends in `.git`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The bare repository on disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full id of the commit that `revision` (a branch, a tag, …) names.
    pub fn commit(&self, revision: &str) -> Result<String, GitServerError> {
        let revision = format!("{revision}^{{commit}}");
        Ok(self.git(&["rev-parse", "--verify", "--quiet", &revision])?.trim().to_owned())
    }

    /// Runs git on the repository itself and gives its stdout: the oracle for what a fetch must deliver, such as
    /// `git(&["ls-tree", "-r", "main"])`.
    pub fn git(&self, args: &[&str]) -> Result<String, GitServerError> {
        let output = git::run(Some(&self.path), args, b"")?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Goes on from the tip of an existing `branch`: a push, as clients see it.
    pub fn extend(&self, branch: &str) -> RepositoryBuilder {
        RepositoryBuilder {
            repository: self.clone(),
            branch: branch.to_owned(),
            profile: None,
            sha256: false,
            steps: Vec::new(),
        }
    }

    fn commits(&self) -> Result<u64, GitServerError> {
        Ok(self.git(&["rev-list", "--all", "--count"])?.trim().parse().unwrap_or(0))
    }

    fn configure(&self, profile: Profile, sha256: bool) -> Result<(), GitServerError> {
        let path = self.path.join("config");
        let version = u8::from(sha256);
        let extensions = if sha256 { "[extensions]\n\tobjectFormat = sha256\n" } else { "" };
        let text = format!(
            "{extensions}[core]\n\trepositoryformatversion = {version}\n\tbare = true\n[http]\n\tuploadpack = true\n\treceivepack = false\n{}",
            profile.git_config()
        );
        std::fs::write(&path, text).map_err(|source| GitServerError::Write { path, source })
    }
}
