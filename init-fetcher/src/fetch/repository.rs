//! One repository of a delivery: from its listing to its files in the staging directory.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use workflow_contract::{RepoPath, Scheme};

use super::attempt::{Attempt, Destination, Fetched, Found};
use super::failure::FetchFailure;
use super::receive::{all_blobs, pinned};
use super::resolve::{Target, TargetKind};
use super::totals::Totals;
use crate::checkout::git_dir::{self, Head};
use crate::checkout::index::Recorder;
use crate::checkout::write;
use crate::credentials::ssh::SshKey;
use crate::pack::store::{SpoolBlobs, Store};
use crate::transport::Remote;
use crate::transport::http::SmartHttp;
use crate::transport::http::authenticator::Authenticator;
use crate::transport::ssh::Ssh;
use crate::tree::plan::{Plan, Selection};

impl<'c> Attempt<'_, 'c> {
    /// Fetches the repository without its submodules.
    pub fn repository(
        &self,
        authenticator: &mut Authenticator<'c>,
        destination: &Destination,
        totals: &mut Totals,
    ) -> Result<Fetched, FetchFailure> {
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
        if let Some(git_dir) = &destination.git_dir {
            self.whole(remote.as_mut(), &target, destination, &destination.top.join(git_dir), totals)
        } else {
            self.directory(remote.as_mut(), &target, destination, totals)
        }
    }

    /// The whole repository, with a git directory that can be worked with.
    fn whole(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        destination: &Destination,
        git_dir: &Path,
        totals: &mut Totals,
    ) -> Result<Fetched, FetchFailure> {
        let checkpoint = || self.run.checkpoint();
        let packs = git_dir.join("objects/pack");
        let format = target.want.object_format();
        let mut store = Store::create(&packs, &destination.scratch, format, self.config.limits, &checkpoint)?;
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
        let written = write::write(&plan, &store, &destination.files(), Some(&mut recorder), &checkpoint)?;
        let facts = git_dir::Facts {
            url: &self.source.url,
            head: head(target),
            commit: commit.id,
            shallow: &received.shallow,
            worktree: destination
                .git_dir
                .as_deref()
                .and_then(|git_dir| git_dir::worktree(git_dir, &destination.worktree)),
            submodules: submodules
                .iter()
                .map(|one| git_dir::Submodule { name: &one.name, url: &one.url })
                .collect(),
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
        destination: &Destination,
        totals: &mut Totals,
    ) -> Result<Fetched, FetchFailure> {
        let checkpoint = || self.run.checkpoint();
        let (scratch, format) = (&destination.scratch, target.want.object_format());
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
        let written = write::write(&plan, &store, &destination.files(), None, &checkpoint)?;
        totals.received = store.received();
        Ok(Fetched { commit, plan, written, submodules, directory })
    }
}

impl Destination {
    fn files(&self) -> PathBuf {
        self.top.join(&self.worktree)
    }
}

fn head(target: &Target) -> Head<'_> {
    let name = &target.name;
    match target.kind {
        TargetKind::Branch => Head::Branch { name },
        TargetKind::Tag => Head::Tag { name, object: target.want },
        TargetKind::Commit | TargetKind::OtherRef => Head::Commit,
    }
}
