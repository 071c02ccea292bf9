//! A repository and its submodules: each is fetched like the repository itself, at the commit that the repository
//! names.

use std::path::Path;

use workflow_contract::{RefName, RepoPath, RepoUrl, Scheme};

use super::attempt::{Attempt, Destination, RepositorySource, Resolved};
use super::failure::FetchFailure;
use super::totals::Totals;
use crate::checkout::{git_dir, publish};
use crate::config::{Config, ConfigError, TrustSettings};
use crate::credentials::MountedSecret;
use crate::pack::store::Commit;
use crate::transport::http::authenticator::Authenticator;
use crate::transport::http::client::Client;
use crate::transport::http::identity::ClientIdentity;
use crate::tree::{TreeError, shown};

/// Submodules within submodules at most.
const MAX_NESTED: usize = 32;

/// A client for one repository: its certificate is presented to that repository's host only.
///
/// # Errors
/// Those of the client, and a client certificate that cannot be used.
pub fn client(config: &Config, secret: &MountedSecret, url: &RepoUrl) -> Result<Client, FetchFailure> {
    let identity = secret.client_certificate(url).map(|pem| {
        ClientIdentity::parse(url.host(), pem).map_err(|why| ConfigError::Value {
            name: "tls.crt and tls.key of the Secret",
            why: why.to_owned(),
        })
    });
    // ssh uses no CA certificates, so its runs ignore them.
    let is_ssh = url.scheme() == Scheme::Ssh;
    let trust = if is_ssh { &TrustSettings::default() } else { &config.trust };
    Ok(Client::new(trust, config.proxies.clone(), identity.transpose()?)?)
}

impl<'c> Attempt<'_, 'c> {
    /// Fetches the repository and the submodules that are configured to be fetched. `depth` counts submodules within
    /// submodules.
    pub fn fetch(
        &self,
        authenticator: &mut Authenticator<'c>,
        destination: &Destination,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<Commit, FetchFailure> {
        let fetched = self.repository(authenticator, destination, totals)?;
        totals.add(&fetched, &self.prefix);
        for (number, submodule) in fetched.submodules.iter().enumerate() {
            let destination = destination.of_submodule(submodule, number);
            self.submodule(submodule, &fetched.directory, &destination, totals, depth + 1)?;
        }
        Ok(fetched.commit)
    }

    /// Fetches a submodule and its own submodules to its destination within that of its repository.
    fn submodule(
        &self,
        submodule: &Resolved,
        directory: &RepoPath,
        destination: &Destination,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), FetchFailure> {
        let Resolved { source, url, .. } = submodule;
        let path = if self.prefix.is_empty() { source.clone() } else { format!("{}/{source}", self.prefix) };
        self.run.enter_submodule(&path);
        tracing::info!(path, %url, commit = %submodule.commit, "fetching submodule");
        self.submodule_at(submodule, directory, &path, destination, totals, depth)
            .map_err(|failure| failure.of_submodule(source, Some(url)))?;
        self.run.enter_submodule(&self.prefix);
        Ok(())
    }

    fn submodule_at(
        &self,
        submodule: &Resolved,
        directory: &RepoPath,
        path: &str,
        destination: &Destination,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), FetchFailure> {
        if depth > MAX_NESTED {
            return Err(TreeError::TooDeep { path: shown(path.as_bytes()) }.into());
        }
        let client = client(self.config, self.secret, &submodule.url)?;
        let mut authenticator =
            Authenticator::new(&client, &self.config.credentials, self.secret, &submodule.url);
        let source = RepositorySource {
            url: submodule.url.clone(),
            reference: RefName::parse(&submodule.commit.to_string()).map_err(ConfigError::from)?,
            pinned: Some(submodule.commit),
            path: directory.clone(),
        };
        let attempt = Attempt { source: &source, client: &client, prefix: path.to_owned(), ..*self };
        attempt.fetch(&mut authenticator, destination, totals, depth)?;
        if let Some(git_dir) = &destination.git_dir {
            git_dir::link(&destination.top, &destination.worktree, git_dir)?;
        }
        // Its packs are of no further use.
        if let Err(error) = publish::remove(&destination.scratch) {
            tracing::debug!(%error, "failed to remove scratch files");
        }
        Ok(())
    }
}

impl Destination {
    /// Returns the destination of a submodule of the repository; `number` is unique among its submodules.
    fn of_submodule(&self, submodule: &Resolved, number: usize) -> Self {
        let modules = |git_dir: &Path| git_dir.join("modules").join(&submodule.name);
        Self {
            top: self.top.clone(),
            worktree: self.worktree.join(&submodule.path),
            git_dir: self.git_dir.as_deref().map(modules),
            scratch: self.scratch.join(format!("submodule-{number}")),
        }
    }
}
