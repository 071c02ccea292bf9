//! One run: attempts, each from listing to publishing, until one succeeds or there is no point in more.

use std::thread;
use std::time::Duration;

use workflow_contract::url::repository_of_page;

use super::attempt::{Attempt, Destination, RepositorySource};
use super::failure::FetchFailure;
use super::recurse::client;
use super::totals::Totals;
use crate::checkout::publish::{self, Staging};
use crate::checkout::snapshot::Snapshot;
use crate::config::Config;
use crate::credentials::MountedSecret;
use crate::report::{self, Delivered};
use crate::retry;
use crate::run::Run;
use crate::transport::http::authenticator::Authenticator;

/// Delivers, with as many attempts as make sense.
///
/// # Errors
/// The [`FetchFailure`] of the last attempt.
pub fn deliver(config: &Config, run: &Run) -> Result<Delivered, FetchFailure> {
    publish::prepare(&config.root)?;
    let secret = MountedSecret::read(config.credentials.dir.as_deref());
    let client = client(config, &secret, &config.url)?;
    let mut authenticator = Authenticator::new(&client, &config.credentials, &secret, &config.url);
    let (url, reference, path) = (config.url.clone(), config.reference.clone(), config.path.clone());
    let source = RepositorySource { url, reference, pinned: None, path };
    let requested = workflow_contract::Source::new(
        &config.url.to_string(),
        config.reference.as_str(),
        config.path.as_str(),
    );
    let mut waited = Duration::ZERO;
    for attempt in 1.. {
        run.attempt_begins(attempt);
        let this =
            Attempt { config, run, secret: &secret, client: &client, source: &source, prefix: String::new() };
        let failure = match make(&this, &mut authenticator) {
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
        run.attempt_failed(failure.exit(), report::failure(&failure, Some(&requested), attempt));
        thread::sleep(wait);
        waited += wait;
    }
    Err(FetchFailure::Internal("ran out of attempts".into()))
}

/// A random number as one in 0..1.
fn unit(random: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "any number in the range will do")]
    let unit = random as f64 / u64::MAX as f64;
    unit
}

/// One attempt, up to publishing.
fn make<'c>(
    attempt: &Attempt<'_, 'c>,
    authenticator: &mut Authenticator<'c>,
) -> Result<Delivered, FetchFailure> {
    let Attempt { config, run, .. } = attempt;
    let staging = Staging::create(&config.root)?;
    run.lock().staging = Some(staging.directory().to_owned());
    run.enter_submodule("");
    let destination = Destination {
        top: staging.tree(),
        worktree: "".into(),
        git_dir: config.path.is_whole().then(|| ".git".into()),
        scratch: staging.scratch(),
    };
    let mut totals = Totals::default();
    let commit = attempt.fetch(authenticator, &destination, &mut totals, 0)?;
    let (links, submodules) = (&totals.links, &totals.submodules);
    tracing::info!(
        replaced_links = links.replaced,
        skipped_links = links.skipped,
        submodules = submodules.fetched,
        empty_submodules = submodules.empty,
        "files written"
    );
    run.set_phase("publishing");
    let signer = run.lock().details.signer.clone();
    let delivered = Delivered {
        commit: commit.id,
        reference: config.reference.to_string(),
        directory: config.root.join(config.url.name()),
        files: totals.used.files,
        bytes: totals.used.bytes,
        links: totals.links,
        submodules: totals.submodules,
        lfs_pointers: totals.lfs_pointers,
        signer,
        note: authenticator.note(),
    };
    let built = (!config.settle.is_zero()).then(|| Snapshot::take(&staging.tree()).ok());
    run.publish(&delivered, || staging.publish(&config.root, config.url.name(), config.url.alias()))?;
    let Some(built) = built else { return Ok(delivered) };
    thread::sleep(config.settle.min(config.limits.timeout.saturating_sub(run.elapsed())));
    if built.is_some() && Snapshot::take(&delivered.directory).ok() == built {
        return Ok(delivered);
    }
    run.unpublished();
    Err(FetchFailure::Disturbed { directory: delivered.directory })
}
