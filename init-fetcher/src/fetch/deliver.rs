//! One run: attempts, each from listing to publishing, until one succeeds or there is no point in more.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, SystemTime};

use git2::{ObjectFormat, Oid};
use workflow_contract::{Scheme, Source, text, url::repository_of_page};

use super::failure::Failure;
use super::resolve::{self, RefNotFound, Target, TargetKind};
use crate::checkout::git_dir;
use crate::checkout::index::Recorder;
use crate::checkout::publish::{self, Staging};
use crate::checkout::write::{self, Written};
use crate::config::{Config, ConfigError, TrustSettings};
use crate::credentials::ssh::SshKey;
use crate::credentials::{Authenticator, MountedSecret};
use crate::pack::PackError;
use crate::pack::store::{Commit, CommitError, SpoolBlobs, Store};
use crate::protocol::{Listing, ProtocolError, Received, Want};
use crate::report::{self, Delivered, Links};
use crate::retry;
use crate::run::Run;
use crate::transport::http::SmartHttp;
use crate::transport::http::client::Client;
use crate::transport::http::identity::Identity;
use crate::transport::ssh::Ssh;
use crate::transport::{Remote, TransportError};
use crate::tree::plan::{self, Plan, Planned, Selection};
use crate::tree::{TreeError, subdir};

/// Objects in one request.
const MAX_WANTS: usize = 1000;

/// Delivers, with as many attempts as make sense.
///
/// # Errors
/// The [`Failure`] of the last attempt.
pub fn deliver(config: &Config, run: &Run) -> Result<Delivered, Failure> {
    publish::prepare(&config.root)?;
    let secret = MountedSecret::read(config.credentials.dir.as_deref());
    let identity = secret.client_certificate(&config.url).map(|pem| {
        Identity::parse(config.url.host(), pem).map_err(|why| ConfigError::Value {
            name: "tls.crt and tls.key of the Secret",
            why: why.to_owned(),
        })
    });
    // ssh uses no CA certificates, so its runs ignore them.
    let is_ssh = config.url.scheme() == Scheme::Ssh;
    let trust = if is_ssh { &TrustSettings::default() } else { &config.trust };
    let client = Client::new(trust, config.proxies.clone(), identity.transpose()?)?;
    let mut authenticator = Authenticator::new(&client, &config.credentials, &secret, &config.url);
    let source = Source::new(&config.url.to_string(), config.reference.as_str(), config.path.as_str());
    let mut waited = Duration::ZERO;
    for attempt in 1.. {
        run.attempt_begins(attempt);
        let this = Attempt { config, run, client: &client };
        let failure = match this.make(&mut authenticator) {
            Ok(delivered) => return Ok(delivered),
            Err(failure) => failure,
        };
        let random = unit(publish::random());
        let left = config.limits.timeout.saturating_sub(run.elapsed());
        let wait = failure.retryable().and_then(|how| retry::next_wait(how, attempt, waited, left, random));
        let Some(wait) = wait else {
            return Err(failure.of_page(repository_of_page(&config.url.without_userinfo())));
        };
        tracing::warn!(attempt, wait_ms = wait.as_millis(), error = %failure, "attempt failed, trying again");
        run.attempt_failed(failure.exit(), report::failure(&failure, Some(&source), attempt));
        thread::sleep(wait);
        waited += wait;
    }
    Err(Failure::Internal("ran out of attempts".into()))
}

/// A random number as one in 0..1.
fn unit(random: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "any number in the range will do")]
    let unit = random as f64 / u64::MAX as f64;
    unit
}

struct Attempt<'a, 'c> {
    config: &'a Config,
    run: &'a Run,
    client: &'c Client,
}

impl<'c> Attempt<'_, 'c> {
    fn make(&self, authenticator: &mut Authenticator<'c>) -> Result<Delivered, Failure> {
        let Self { config, run, client } = self;
        let staging = Staging::create(&config.root)?;
        run.lock().staging = Some(staging.directory().to_owned());
        run.set_phase("connecting to the server");
        let mut remote: Box<dyn Remote> = if config.url.scheme() == Scheme::Ssh {
            let key = SshKey::read(config.credentials.dir.as_deref());
            Box::new(Ssh::connect(&config.url, key, &config.proxies)?)
        } else {
            Box::new(SmartHttp::connect(client, &config.policy, authenticator, &config.url)?)
        };
        run.set_phase("listing branches and tags");
        let target = self.resolve(remote.as_mut())?;
        let (commit, plan, written) = if config.path.is_whole() {
            self.whole(remote.as_mut(), &target, &staging)?
        } else {
            self.directory(remote.as_mut(), &target, &staging)?
        };
        drop(remote);
        run.set_phase("publishing");
        let delivered = Delivered {
            commit: commit.id,
            reference: config.reference.to_string(),
            place: config.root.join(config.url.name()),
            files: plan.files,
            bytes: plan.bytes,
            links: Links {
                replaced: plan.replaced,
                first_replaced: plan.first_replaced,
                skipped: plan.skipped.len() as u64,
                first_skipped: plan.first_skipped,
            },
            submodules: plan.submodules.len() as u64,
            lfs_pointers: written.lfs_pointers,
            note: authenticator.note(),
        };
        run.publish(&delivered, || staging.publish(&config.root, config.url.name(), config.url.alias()))?;
        Ok(delivered)
    }

    fn resolve(&self, remote: &mut dyn Remote) -> Result<Target, Failure> {
        let name = &self.config.reference;
        let listing = if name.is_full_ref() { Listing::Full } else { Listing::Named };
        let refs = remote.list(listing(name.as_str()))?;
        // Listing has rejected other formats.
        let format = remote.capabilities().object_format().unwrap_or(ObjectFormat::Sha1);
        match resolve::resolve(name, &refs, remote.capabilities().want_any(), format) {
            Some(target) => Ok(target),
            None => Err(resolve::not_found(name, &remote.list(Listing::All)?).into()),
        }
    }

    /// The whole repository, with a `.git` that can be worked with.
    fn whole(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        staging: &Staging,
    ) -> Result<(Commit, Plan, Written), Failure> {
        let checkpoint = || self.run.checkpoint();
        let git_dir = staging.tree().join(".git");
        let packs = git_dir.join("objects/pack");
        let mut store = Store::create(
            &packs,
            &staging.scratch(),
            target.want.object_format(),
            self.config.limits,
            &checkpoint,
        )?;
        // A server that can't cut the history sends files that are long gone.
        let spool_blobs = if remote.capabilities().shallow() { SpoolBlobs::All } else { SpoolBlobs::None };
        let received = self.everything(remote, target, spool_blobs, &mut store)?;
        let commit = self.commit(&store, target)?;
        self.run.set_phase("checking what was received");
        let plan = self.plan(remote, target, &mut store, &Selection::whole(commit.tree))?;
        self.run.set_phase("writing files");
        let mut recorder =
            Recorder::new(&git_dir.join("index"), commit.id.object_format(), commit.time, SystemTime::now())?;
        let written = write::write(&plan, &store, &staging.tree(), Some(&mut recorder), &checkpoint)?;
        let facts = git_dir::Facts {
            url: &self.config.url,
            name: &target.name,
            kind: target.kind,
            want: target.want,
            commit: commit.id,
            shallow: &received.shallow,
        };
        git_dir::write(&git_dir, &facts)?;
        store.write_indexes()?;
        recorder.write()?;
        Ok((commit, plan, written))
    }

    /// A directory of the repository: its contents, and nothing else.
    fn directory(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        staging: &Staging,
    ) -> Result<(Commit, Plan, Written), Failure> {
        let checkpoint = || self.run.checkpoint();
        let scratch = staging.scratch();
        let mut store =
            Store::create(&scratch, &scratch, target.want.object_format(), self.config.limits, &checkpoint)?;
        let found = if remote.capabilities().filter() {
            self.fetch_subtree(remote, target, &mut store)?
        } else {
            None
        };
        let (commit, tree) = if let Some(found) = found {
            found
        } else {
            self.everything(remote, target, SpoolBlobs::None, &mut store)?;
            let commit = self.commit(&store, target)?;
            (commit, subdir::find(&store, commit.tree, &self.config.path)?)
        };
        self.run.set_phase("checking what was received");
        let path = self.config.path.as_str().as_bytes().to_vec();
        let selection = Selection { root: commit.tree, path, tree };
        let plan = self.plan(remote, target, &mut store, &selection)?;
        self.run.set_phase("writing files");
        let written = write::write(&plan, &store, &staging.tree(), None, &checkpoint)?;
        Ok((commit, plan, written))
    }

    /// Plans the delivery, and fetches what links lead to outside of it.
    fn plan(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        selection: &Selection,
    ) -> Result<Plan, Failure> {
        let mut requested = HashSet::new();
        loop {
            let needed = match plan::plan(store, selection, self.config.limits, self.config.unsafe_links)? {
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
            let want = Want { oids: &oids, shallow: false, without_blobs: false };
            if refused(store.take(SpoolBlobs::All, |sink| remote.fetch(want, sink)))? {
                self.everything(remote, target, SpoolBlobs::None, store)?;
            }
            self.run.set_phase("checking what was received");
        }
    }

    /// Fetches the commit and its trees without the contents of files, finds the directory's tree, and
    /// fetches that with all that is in it. `None` where the server does not play along: then everything
    /// is fetched, once, and that is no failure.
    fn fetch_subtree(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
    ) -> Result<Option<(Commit, Oid)>, Failure> {
        self.run.set_phase("receiving the way to the directory");
        let lean = Want { oids: &[target.want], shallow: true, without_blobs: true };
        let answer = store.take(SpoolBlobs::None, |sink| remote.fetch(lean, sink));
        if refused(answer.map_err(|error| doubt_commit(error, target)))? {
            return Ok(None);
        }
        let commit = self.commit(store, target)?;
        let tree = subdir::find(store, commit.tree, &self.config.path)?;
        self.run.set_phase("receiving the directory");
        let content = Want { oids: &[tree], shallow: false, without_blobs: false };
        if refused(store.take(SpoolBlobs::All, |sink| remote.fetch(content, sink)))? {
            return Ok(None);
        }
        Ok(Some((commit, tree)))
    }

    fn everything(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        spool_blobs: SpoolBlobs,
        store: &mut Store,
    ) -> Result<Received, Failure> {
        self.run.set_phase("receiving the pack");
        let want = Want { oids: &[target.want], shallow: true, without_blobs: false };
        store.take(spool_blobs, |sink| remote.fetch(want, sink)).map_err(|error| match (error, target.kind) {
            // A commit that was asked for by its id was never listed: the server does not have it.
            (TransportError::Protocol(ProtocolError::Refused(words)), TargetKind::Commit) => {
                tracing::info!(words, "the server refuses the commit");
                RefNotFound::NoSuchCommit { id: self.config.reference.to_string() }.into()
            }
            (error, _) => doubt_commit(error, target).into(),
        })
    }

    /// The commit that was received, which must be the one that was asked for.
    fn commit(&self, store: &Store, target: &Target) -> Result<Commit, Failure> {
        let commit = store.commit(target.want).map_err(|error| match error {
            CommitError::NotACommit { kind } => {
                let name = text::sanitize(self.config.reference.as_str());
                Failure::Reference(RefNotFound::NotACommit { name, kind })
            }
            CommitError::Pack(error) => error.into(),
        })?;
        commit.ok_or_else(|| {
            let why = format!("it does not hold {}, which was asked for", target.want);
            PackError::Corrupt(why).into()
        })
    }
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
