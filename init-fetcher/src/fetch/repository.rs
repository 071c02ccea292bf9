//! One repository of a delivery: from its listing to its files in the staging directory.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{ObjectFormat, Oid};
use workflow_contract::{RefName, RepoPath, RepoUrl, Scheme, Submodules, text};

use super::failure::Failure;
use super::resolve::{self, RefNotFound, Target, TargetKind};
use super::signed;
use super::submodules::Resolved;
use super::totals::Totals;
use crate::checkout::git_dir;
use crate::checkout::index::Recorder;
use crate::checkout::write::{self, Written};
use crate::config::{Config, Trust};
use crate::credentials::ssh::SshKey;
use crate::credentials::{Authenticator, MountedSecret};
use crate::pack::PackError;
use crate::pack::store::{Commit, CommitError, SpoolBlobs, Store};
use crate::protocol::{Listing, ProtocolError, Received, Want};
use crate::run::Run;
use crate::transport::http::SmartHttp;
use crate::transport::http::client::Client;
use crate::transport::ssh::Ssh;
use crate::transport::{Remote, TransportError};
use crate::tree::TreeError;
use crate::tree::plan::{self, Plan, Planned, Selection, Submodule};
use crate::tree::subdir::{self, SubdirError};

/// Objects in one request.
const MAX_WANTS: usize = 1000;

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

    fn resolve(&self, remote: &mut dyn Remote) -> Result<Target, Failure> {
        let name = &self.source.reference;
        let listing = if name.is_full_ref() { Listing::Full } else { Listing::Named };
        let refs = remote.list(listing(name.as_str()))?;
        let (want_any, format) = (remote.capabilities().want_any(), format_of(remote));
        let Some(mut target) = resolve::resolve(name, &refs, want_any, format) else {
            return Err(resolve::not_found(name, &remote.list(Listing::All)?).into());
        };
        let is_tag = refs.iter().any(|r| r.oid == target.want && r.peeled.is_some());
        if !is_tag && self.signers().is_some_and(Trust::accepts_tags) {
            target.tags = signed::tags_of(&remote.list(Listing::All)?, target.want);
        }
        Ok(target)
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
    fn find(&self, store: &Store, commit: &Commit) -> Result<Found, Failure> {
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

    /// Plans the delivery, and fetches what links lead to outside of it.
    fn plan(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        selection: &Selection,
        totals: &Totals,
    ) -> Result<Plan, Failure> {
        let Config { limits, unsafe_links, .. } = self.config;
        let mut requested = HashSet::new();
        loop {
            let needed = match plan::plan(store, selection, *limits, totals.used, *unsafe_links)? {
                Planned::Complete(plan) => return Ok(plan),
                Planned::Incomplete(needed) => needed,
            };
            let oids: Vec<Oid> = needed
                .iter()
                .map(|one| one.oid)
                .filter(|oid| requested.insert(*oid))
                .take(MAX_WANTS)
                .collect();
            if oids.is_empty() {
                let first = needed.into_iter().next().ok_or_else(|| Failure::Internal("no plan".into()))?;
                return Err(TreeError::Missing { oid: first.oid, path: first.path }.into());
            }
            self.run.set_phase("receiving what symlinks lead to");
            self.objects(remote, target, store, &oids)?;
            self.run.set_phase("checking what was received");
        }
    }

    /// Fetches single objects, or everything from a server that does not send them.
    pub fn objects(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        oids: &[Oid],
    ) -> Result<(), Failure> {
        let want = Want { oids, shallow: false, without_blobs: false };
        if refused(store.take(SpoolBlobs::All, |sink| remote.fetch(want, sink)))? {
            self.everything(remote, target, SpoolBlobs::None, store)?;
        }
        Ok(())
    }

    /// Fetches the commit and its trees without the contents of files, finds the directory's tree, and
    /// fetches that with all that is in it. `None` where the server does not play along: then everything
    /// is fetched, once, and that is no failure.
    fn fetch_subtree(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
    ) -> Result<Option<(Commit, Found)>, Failure> {
        self.run.set_phase("receiving the way to the directory");
        let lean = Want { oids: &target.wants(), shallow: true, without_blobs: true };
        let answer = store.take(SpoolBlobs::None, |sink| remote.fetch(lean, sink));
        if refused(answer.map_err(|error| doubt_commit(error, target)))? {
            return Ok(None);
        }
        let commit = self.commit(store, target)?;
        let found = self.find(store, &commit)?;
        let Found::Tree(tree) = found else { return Ok(Some((commit, found))) };
        self.run.set_phase("receiving the directory");
        let content = Want { oids: &[tree], shallow: false, without_blobs: false };
        if refused(store.take(SpoolBlobs::All, |sink| remote.fetch(content, sink)))? {
            return Ok(None);
        }
        Ok(Some((commit, found)))
    }

    fn everything(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        spool_blobs: SpoolBlobs,
        store: &mut Store,
    ) -> Result<Received, Failure> {
        self.run.set_phase("receiving the pack");
        let want = Want { oids: &target.wants(), shallow: true, without_blobs: false };
        store.take(spool_blobs, |sink| remote.fetch(want, sink)).map_err(|error| match (error, target.kind) {
            // A commit that was asked for by its id was never listed: the server does not have it.
            (TransportError::Protocol(ProtocolError::Refused(words)), TargetKind::Commit) => {
                tracing::info!(words, "the server refuses the commit");
                RefNotFound::NoSuchCommit { id: self.source.reference.to_string() }.into()
            }
            (error, _) => doubt_commit(error, target).into(),
        })
    }

    /// The signature that is demanded. The commits of submodules are covered by that of their repository.
    fn signers(&self) -> Option<&Trust> {
        self.config.signers.as_ref().filter(|_| self.source.pinned.is_none())
    }

    /// The commit that was received, which must be the one that was asked for, and signed as demanded.
    fn commit(&self, store: &Store, target: &Target) -> Result<Commit, Failure> {
        let commit = store.commit(target.want).map_err(|error| match error {
            CommitError::NotACommit { kind } => {
                let name = text::sanitize(self.source.reference.as_str());
                Failure::Reference(RefNotFound::NotACommit { name, kind })
            }
            CommitError::Pack(error) => error.into(),
        })?;
        let commit = commit.ok_or_else(|| {
            PackError::Corrupt(format!("it does not hold {}, which was asked for", target.want))
        })?;
        if let Some(trust) = self.signers() {
            self.run.set_phase("verifying the signature");
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |time| time.as_secs().cast_signed());
            let signer = signed::check(trust, store, target, &commit, now)?;
            self.run.lock().details.signer = Some(signer.to_string());
        }
        Ok(commit)
    }
}

/// The commit of a submodule, which needs no listing where any commit can be requested.
fn pinned(remote: &mut dyn Remote, commit: Oid) -> Result<Target, Failure> {
    let name = commit.to_string();
    let mut listed = false;
    if commit.object_format() != format_of(remote) {
        return Err(RefNotFound::NoSuchCommit { id: name }.into());
    }
    if !remote.capabilities().want_any() {
        let refs = remote.list(Listing::Named(&name))?;
        listed = refs.iter().any(|one| one.oid == commit || one.peeled == Some(commit));
        if !listed {
            return Err(RefNotFound::NoSuchCommit { id: name }.into());
        }
    }
    Ok(Target { want: commit, kind: TargetKind::Commit, name, listed, tags: Vec::new() })
}

/// Whether all files that are received are delivered: a server that can't cut the history sends older ones too.
fn all_blobs(remote: &dyn Remote) -> SpoolBlobs {
    if remote.capabilities().shallow() { SpoolBlobs::All } else { SpoolBlobs::None }
}

/// The hash algorithm of a repository's ids; listing has rejected unsupported ones.
fn format_of(remote: &dyn Remote) -> ObjectFormat {
    remote.capabilities().object_format().unwrap_or(ObjectFormat::Sha1)
}

/// What a path leads to.
enum Found {
    Tree(Oid),
    /// A submodule, and the directory within it.
    Submodule(Submodule, RepoPath),
}

/// Adds to a server error that the commit may not exist, if its id was not listed: some servers fail on
/// requests for unknown commits.
fn doubt_commit(error: TransportError, target: &Target) -> TransportError {
    match error {
        TransportError::Status { host, status: status @ 500.., words, after } if !target.listed => {
            let words =
                format!("{words}; no branch or tag names the commit {}, it may not exist", target.want);
            TransportError::Status { host, status, words, after }
        }
        // JGit answers with nothing at all.
        TransportError::Protocol(ProtocolError::Truncated("before the pack")) if !target.listed => {
            let place = "before the pack (no branch or tag names that commit, it may not exist)";
            ProtocolError::Truncated(place).into()
        }
        other => other,
    }
}

/// Whether the server refused a request that it may refuse; logged, as it makes the run slower.
fn refused(result: Result<Received, TransportError>) -> Result<bool, TransportError> {
    match result {
        Ok(_) => Ok(false),
        Err(TransportError::Protocol(ProtocolError::Refused(words))) => {
            tracing::warn!(words, "the server refuses to send only what is needed, fetching everything");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}
