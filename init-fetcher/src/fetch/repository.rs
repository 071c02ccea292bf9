//! One repository of a delivery: from its listing to its files in the staging directory.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use git2::Oid;
use workflow_contract::{RefName, RepoPath, RepoUrl, Scheme, Submodules};

use super::failure::Failure;
use super::receive::{all_blobs, pinned};
use super::resolve::Target;
use super::submodules::Resolved;
use super::totals::Totals;
use crate::checkout::git_dir;
use crate::checkout::index::Recorder;
use crate::checkout::write::{self, Written};
use crate::config::Config;
use crate::credentials::ssh::SshKey;
use crate::credentials::{Authenticator, MountedSecret};
use crate::pack::store::{Commit, SpoolBlobs, Store};
use crate::run::Run;
use crate::transport::Remote;
use crate::transport::http::SmartHttp;
use crate::transport::http::client::Client;
use crate::transport::ssh::Ssh;
use crate::tree::plan::{Plan, Selection, Submodule};
use crate::tree::subdir::{self, SubdirError};

/// A repository and the part of it that is delivered.
pub struct Source {
    pub url: RepoUrl,
    pub reference: RefName,
    /// The commit of a submodule, to which no branch or tag is preferred.
    pub pinned: Option<Oid>,
    pub path: RepoPath,
}

/// Where a repository is written.
pub struct Place {
    /// The directory that will be published.
    pub top: PathBuf,
    /// Directory of the files, below `top`; empty for `top` itself.
    pub worktree: PathBuf,
    /// The git directory, below `top`; `None` if only files are delivered.
    pub git_dir: Option<PathBuf>,
    pub scratch: PathBuf,
}

impl Place {
    fn files(&self) -> PathBuf {
        self.top.join(&self.worktree)
    }
}

/// A repository whose files are written. Those of its submodules are not.
pub struct Fetched {
    pub commit: Commit,
    pub plan: Plan,
    pub written: Written,
    /// The submodules to fetch.
    pub submodules: Vec<Resolved>,
    /// Directory within the submodule, if the path leads into one.
    pub directory: RepoPath,
}

/// One attempt to fetch a repository.
pub struct Attempt<'a, 'c> {
    pub config: &'a Config,
    pub run: &'a Run,
    pub secret: &'a MountedSecret,
    pub client: &'c Client,
    pub source: &'a Source,
    /// Path of the submodule that is fetched; empty for the repository itself.
    pub prefix: String,
}

impl<'c> Attempt<'_, 'c> {
    /// Fetches the repository and the submodules that are configured to be fetched. `depth` counts submodules within
    /// submodules.
    pub fn fetch(
        &self,
        authenticator: &mut Authenticator<'c>,
        place: &Place,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<Commit, Failure> {
        let fetched = self.repository(authenticator, place, totals)?;
        totals.add(&fetched, &self.prefix);
        for (number, submodule) in fetched.submodules.iter().enumerate() {
            let place = place.of_submodule(submodule, number);
            self.submodule(submodule, &fetched.directory, &place, totals, depth + 1)?;
        }
        Ok(fetched.commit)
    }

    fn repository(
        &self,
        authenticator: &mut Authenticator<'c>,
        place: &Place,
        totals: &mut Totals,
    ) -> Result<Fetched, Failure> {
        let Self { config, run, client, source, .. } = self;
        run.set_phase("connecting to the server");
        let mut remote: Box<dyn Remote> = if source.url.scheme() == Scheme::Ssh {
            let key = SshKey::read(config.credentials.dir.as_deref());
            Box::new(Ssh::connect(&source.url, key, &config.proxies)?)
        } else {
            Box::new(SmartHttp::connect(client, &config.policy, authenticator, &source.url)?)
        };
        run.set_phase("listing branches and tags");
        let target = match source.pinned {
            Some(commit) => pinned(remote.as_mut(), commit)?,
            None => self.resolve(remote.as_mut())?,
        };
        if let Some(git_dir) = &place.git_dir {
            self.whole(remote.as_mut(), &target, place, &place.top.join(git_dir), totals)
        } else {
            self.directory(remote.as_mut(), &target, place, totals)
        }
    }

    /// The whole repository, with a git directory that can be worked with.
    fn whole(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        place: &Place,
        git_dir: &Path,
        totals: &mut Totals,
    ) -> Result<Fetched, Failure> {
        let checkpoint = || self.run.checkpoint();
        let packs = git_dir.join("objects/pack");
        let format = target.want.object_format();
        let mut store = Store::create(&packs, &place.scratch, format, self.config.limits, &checkpoint)?;
        store.count_from(totals.received);
        let spool_blobs = all_blobs(remote);
        let received = self.everything(remote, target, spool_blobs, &mut store)?;
        let commit = self.commit(&store, target)?;
        self.run.set_phase("checking what was received");
        let plan = self.plan(remote, target, &mut store, &Selection::whole(commit.tree), totals)?;
        let submodules =
            self.resolve_submodules(remote, target, &mut store, commit.tree, &plan.submodules)?;
        self.run.set_phase("writing files");
        let mut recorder =
            Recorder::new(&git_dir.join("index"), commit.id.object_format(), commit.time, SystemTime::now())?;
        let written = write::write(&plan, &store, &place.files(), Some(&mut recorder), &checkpoint)?;
        let facts = git_dir::Facts {
            url: &self.source.url,
            name: &target.name,
            kind: target.kind,
            want: target.want,
            commit: commit.id,
            shallow: &received.shallow,
            worktree: place
                .git_dir
                .as_deref()
                .and_then(|git_dir| git_dir::worktree(git_dir, &place.worktree)),
            submodules: &submodules,
        };
        git_dir::write(git_dir, &facts)?;
        store.write_indexes()?;
        recorder.write()?;
        totals.received = store.received();
        Ok(Fetched { commit, plan, written, submodules, directory: RepoPath::default() })
    }

    /// A directory of the repository: its contents, and nothing else.
    fn directory(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        place: &Place,
        totals: &mut Totals,
    ) -> Result<Fetched, Failure> {
        let checkpoint = || self.run.checkpoint();
        let (scratch, format) = (&place.scratch, target.want.object_format());
        let mut store = Store::create(scratch, scratch, format, self.config.limits, &checkpoint)?;
        store.count_from(totals.received);
        let found = if remote.capabilities().filter() && !self.source.path.is_whole() {
            self.fetch_subtree(remote, target, &mut store)?
        } else {
            None
        };
        let (commit, found) = if let Some(found) = found {
            found
        } else {
            let spool_blobs = if self.source.path.is_whole() { all_blobs(remote) } else { SpoolBlobs::None };
            self.everything(remote, target, spool_blobs, &mut store)?;
            let commit = self.commit(&store, target)?;
            (commit, self.find(&store, &commit)?)
        };
        self.run.set_phase("checking what was received");
        let (plan, directory) = match found {
            Found::Tree(tree) => {
                let path = self.source.path.as_str().as_bytes().to_vec();
                let selection = Selection { root: commit.tree, path, tree };
                (self.plan(remote, target, &mut store, &selection, totals)?, RepoPath::default())
            }
            Found::Submodule(submodule, directory) => {
                (Plan { submodules: vec![submodule], ..Plan::default() }, directory)
            }
        };
        let submodules =
            self.resolve_submodules(remote, target, &mut store, commit.tree, &plan.submodules)?;
        self.run.set_phase("writing files");
        let written = write::write(&plan, &store, &place.files(), None, &checkpoint)?;
        totals.received = store.received();
        Ok(Fetched { commit, plan, written, submodules, directory })
    }

    /// Finds the directory, or the submodule on the way to it if submodules are fetched.
    pub fn find(&self, store: &Store, commit: &Commit) -> Result<Found, Failure> {
        match subdir::find(store, commit.tree, &self.source.path) {
            Ok(tree) => Ok(Found::Tree(tree)),
            Err(SubdirError::Submodule { path, commit, rest })
                if self.config.submodules == Submodules::Recursive =>
            {
                let submodule = Submodule { path: Vec::new(), source: path.into_bytes(), commit };
                Ok(Found::Submodule(submodule, rest))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What a path leads to.
pub enum Found {
    Tree(Oid),
    /// A submodule, and the directory within it.
    Submodule(Submodule, RepoPath),
}
