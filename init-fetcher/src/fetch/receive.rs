//! The requests of an attempt, and what is done if a server rejects them.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{ObjectFormat, Oid};
use workflow_contract::{Submodules, text};

use super::attempt::{Attempt, Found};
use super::failure::FetchFailure;
use super::resolve::{self, RefNotFound, Target, TargetKind};
use super::signed;
use super::totals::Totals;
use crate::config::{Config, Trust};
use crate::pack::PackError;
use crate::pack::store::{Commit, CommitError, SpoolBlobs, Store};
use crate::protocol::{Listing, ProtocolError, Received, Want};
use crate::transport::{Remote, TransportError};
use crate::tree::TreeError;
use crate::tree::plan::{self, Plan, Planned, Selection, Submodule};
use crate::tree::subdir::{self, SubdirError};

/// Objects in one request.
const MAX_WANTS: usize = 1000;

impl Attempt<'_, '_> {
    pub fn resolve(&self, remote: &mut dyn Remote) -> Result<Target, FetchFailure> {
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

    /// Plans the delivery, and fetches what links lead to outside of it.
    pub fn plan(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        selection: &Selection,
        totals: &Totals,
    ) -> Result<Plan, FetchFailure> {
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
                let first =
                    needed.into_iter().next().ok_or_else(|| FetchFailure::Internal("no plan".into()))?;
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
    ) -> Result<(), FetchFailure> {
        let want = Want { oids, shallow: false, without_blobs: false };
        if denied(store.take(SpoolBlobs::All, |sink| remote.fetch(want, sink)))? {
            self.everything(remote, target, SpoolBlobs::None, store)?;
        }
        Ok(())
    }

    /// Fetches the commit and its trees without the contents of files, finds the directory's tree, and
    /// fetches that with all that is in it. `None` where the server does not play along: then everything
    /// is fetched, once, and that is no failure.
    pub fn fetch_subtree(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
    ) -> Result<Option<(Commit, Found)>, FetchFailure> {
        self.run.set_phase("receiving the way to the directory");
        let lean = Want { oids: &target.wants(), shallow: true, without_blobs: true };
        let response = store.take(SpoolBlobs::None, |sink| remote.fetch(lean, sink));
        if denied(response.map_err(|error| doubt_commit(error, target)))? {
            return Ok(None);
        }
        let commit = self.commit(store, target)?;
        let found = self.find(store, &commit)?;
        let Found::Tree(tree) = found else { return Ok(Some((commit, found))) };
        self.run.set_phase("receiving the directory");
        let content = Want { oids: &[tree], shallow: false, without_blobs: false };
        if denied(store.take(SpoolBlobs::All, |sink| remote.fetch(content, sink)))? {
            return Ok(None);
        }
        Ok(Some((commit, found)))
    }

    /// Finds the directory, or the submodule on the way to it if submodules are fetched.
    pub fn find(&self, store: &Store, commit: &Commit) -> Result<Found, FetchFailure> {
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

    pub fn everything(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        spool_blobs: SpoolBlobs,
        store: &mut Store,
    ) -> Result<Received, FetchFailure> {
        self.run.set_phase("receiving the pack");
        let want = Want { oids: &target.wants(), shallow: true, without_blobs: false };
        store.take(spool_blobs, |sink| remote.fetch(want, sink)).map_err(|error| match (error, target.kind) {
            // A commit that was requested by its id was never listed: the server does not have it.
            (TransportError::Protocol(ProtocolError::Server(words)), TargetKind::Commit) => {
                tracing::info!(words, "server denied the commit");
                RefNotFound::NoSuchCommit { id: self.source.reference.to_string() }.into()
            }
            (error, _) => doubt_commit(error, target).into(),
        })
    }

    /// The signature that is demanded. The commits of submodules are covered by that of their repository.
    fn signers(&self) -> Option<&Trust> {
        self.config.signers.as_ref().filter(|_| self.source.pinned.is_none())
    }

    /// The commit that was received, which must be the one that was requested, and signed as demanded.
    pub fn commit(&self, store: &Store, target: &Target) -> Result<Commit, FetchFailure> {
        let commit = store.commit(target.want).map_err(|error| match error {
            CommitError::NotACommit { kind } => {
                let name = text::sanitize(self.source.reference.as_str());
                FetchFailure::Reference(RefNotFound::NotACommit { name, kind })
            }
            CommitError::Pack(error) => error.into(),
        })?;
        let commit = commit.ok_or_else(|| {
            PackError::Corrupt(format!("it does not hold {}, which was requested", target.want))
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
pub fn pinned(remote: &mut dyn Remote, commit: Oid) -> Result<Target, FetchFailure> {
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

/// Reports whether all received files are delivered: a server that can't cut the history sends older ones too.
pub fn all_blobs(remote: &dyn Remote) -> SpoolBlobs {
    if remote.capabilities().shallow() { SpoolBlobs::All } else { SpoolBlobs::None }
}

/// The hash algorithm of a repository's ids; listing has rejected unsupported ones.
fn format_of(remote: &dyn Remote) -> ObjectFormat {
    remote.capabilities().object_format().unwrap_or(ObjectFormat::Sha1)
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
        // JGit responds with nothing at all.
        TransportError::Protocol(ProtocolError::Truncated("before the pack")) if !target.listed => {
            let place = "before the pack (no branch or tag names that commit, it may not exist)";
            ProtocolError::Truncated(place).into()
        }
        other => other,
    }
}

/// Reports whether the server denied an optional request; logged, as it makes the run slower.
fn denied(result: Result<Received, TransportError>) -> Result<bool, TransportError> {
    match result {
        Ok(_) => Ok(false),
        Err(TransportError::Protocol(ProtocolError::Server(words))) => {
            tracing::warn!(words, "server denied a minimal fetch, fetching everything");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}
