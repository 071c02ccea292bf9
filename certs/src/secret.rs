//! The Secret in the API: read and written by the leader, watched by every replica.
//!
//! A replica remembers the last state that it saw whole. A Secret that is deleted or edited into
//! nonsense takes nothing away: what was good stays in service, and the leader writes it back.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{error, info, warn};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use crate::reload::{Resolver, Swap};
use crate::state::State;
use crate::store::{self, StoreError};

/// Why the Secret could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API refused or could not be reached.
    #[error("failed to {verb} the Secret {TLS_SECRET}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The API's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The state has no form as data.
    #[error("failed to encode the certificates")]
    Encode(#[from] StoreError),
}

/// What a look at the Secret found.
#[derive(Debug)]
pub enum Found {
    /// There is no Secret.
    Absent,
    /// There is one that holds no state.
    Broken(StoreError, Version),
    /// The state, as it stands.
    Whole(Box<State>, Version),
}

/// The resourceVersion under which something was read; a write succeeds only on top of it.
pub type Version = Option<String>;

/// The Secret of one installation.
#[derive(Debug, Clone)]
pub struct TlsSecret {
    api: Api<Secret>,
}

impl TlsSecret {
    /// The Secret in the injector's own namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// Reads it live.
    ///
    /// # Errors
    /// [`SecretError::Api`].
    pub async fn read(&self) -> Result<Found, SecretError> {
        let found = self.api.get_opt(TLS_SECRET).await.map_err(|source| failed("read", source))?;
        Ok(found.map_or(Found::Absent, |secret| understand(&secret)))
    }

    /// Writes a state on top of the version that was read: of two writers one is refused.
    ///
    /// # Errors
    /// [`SecretError`]; `Ok(false)` where somebody else was faster.
    pub async fn write(&self, state: &State, on: Option<Version>) -> Result<bool, SecretError> {
        let create = on.is_none();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(TLS_SECRET.to_owned()),
                resource_version: on.flatten(),
                labels: Some([("app.kubernetes.io/name".to_owned(), INJECTOR.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(store::encode(state)?),
            ..Secret::default()
        };
        let params = PostParams::default();
        let written = if create {
            self.api.create(&params, &secret).await
        } else {
            self.api.replace(TLS_SECRET, &params, &secret).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(source) => Err(failed("write", source)),
        }
    }

    /// Follows the Secret for ever: serves what it holds and remembers the last whole state.
    pub async fn follow(self, replica: Replica) {
        let mut changes =
            kube::runtime::watcher::watch_object(self.api, TLS_SECRET).default_backoff().boxed();
        while let Some(change) = changes.next().await {
            match change {
                Ok(Some(secret)) => replica.take(understand(&secret), Timestamp::now()),
                Ok(None) => replica.take(Found::Absent, Timestamp::now()),
                Err(error) => warn!(error = %error, secret = TLS_SECRET, "watching the certificates failed"),
            }
        }
    }
}

/// What a replica does with the Secret that it sees.
#[derive(Debug)]
pub struct Replica {
    /// Serves the leaf.
    pub resolver: Arc<Resolver>,
    /// Told the last whole state.
    pub last: watch::Sender<Option<Arc<State>>>,
}

impl Replica {
    /// Takes over what was found, if it is whole; else everything stays as it is.
    pub fn take(&self, found: Found, now: Timestamp) {
        let state = match found {
            Found::Whole(state, _) => *state,
            Found::Absent => {
                info!(secret = TLS_SECRET, "there is no Secret with certificates");
                return self.nudge();
            }
            Found::Broken(error, _) => {
                let error = &error as &dyn std::error::Error;
                error!(error, "the Secret holds no usable certificates; the last good ones stay");
                return self.nudge();
            }
        };
        match self.resolver.swap(&state.leaf.pair, now) {
            Ok(Swap::Unchanged) => {}
            Ok(Swap::Replaced) => info!(expires = %state.leaf.facts.not_after, "a new certificate is served"),
            Err(error) => {
                error!(error = %error, "the new certificate is refused; the last good one stays");
            }
        }
        self.last.send_replace(Some(Arc::new(state)));
    }

    /// Lets the keeper look at once, not at its next regular look: what it remembers is unchanged,
    /// but the Secret does not hold it any more.
    fn nudge(&self) {
        self.last.send_modify(|_| ());
    }
}

fn understand(secret: &Secret) -> Found {
    let version = secret.metadata.resource_version.clone();
    let empty = store::Data::new();
    match store::decode(secret.data.as_ref().unwrap_or(&empty)) {
        Ok(state) => Found::Whole(Box::new(state), version),
        Err(error) => Found::Broken(error, version),
    }
}

fn failed(verb: &'static str, source: kube::Error) -> SecretError {
    SecretError::Api { verb, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::{Action, Lifetimes, apply};

    fn state(now: Timestamp) -> State {
        apply(Action::Start, None, &["localhost".to_owned()], now, &Lifetimes::default()).unwrap()
    }

    #[test]
    fn a_secret_that_is_gone_or_broken_takes_nothing_away() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (first, second) = (state(now), state(now));
        let (last, seen) = watch::channel(None);
        let replica = Replica { resolver: Arc::default(), last };

        replica.take(Found::Whole(Box::new(first.clone()), None), now);
        replica.take(Found::Absent, now);
        replica.take(Found::Broken(StoreError::Missing("tls.crt"), None), now);
        assert_eq!(seen.borrow().as_deref(), Some(&first));
        assert_eq!(replica.resolver.facts(), Some(first.leaf.facts.clone()));

        replica.take(Found::Whole(Box::new(second.clone()), None), now);
        assert_eq!(replica.resolver.facts(), Some(second.leaf.facts.clone()));
        assert_eq!(seen.borrow().as_deref(), Some(&second));
    }
}
