//! The Secret with the certificates: read and written by the leader, watched by every replica.

pub mod codec;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use crate::rotation::State;
pub use codec::{CA_BUNDLE, CERTIFICATE, Data, DecodeError, KEY, decode, encode};

/// The label by which the injector recognizes its own Secret.
const LABEL: &str = "app.kubernetes.io/name";
const OPAQUE: &str = "Opaque";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {verb} the Secret {TLS_SECRET}")]
    Api {
        verb: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    /// Such as an immutable Secret.
    #[error("the API server rejects changes of the Secret {TLS_SECRET}: {0}; {remedy}", remedy = remedy())]
    Invalid(String),
    #[error("{0}")]
    Unmanaged(Unmanaged),
    #[error("the Secret {TLS_SECRET} was changed by another client meanwhile")]
    Conflict,
    #[error("failed to encode the certificates")]
    Encode(#[from] serde_json::Error),
}

/// A Secret of the expected name that the injector did not create. It is never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Secret {TLS_SECRET} was not created by {INJECTOR} ({0}) and is left alone; {remedy}", remedy = remedy())]
pub struct Unmanaged(String);

fn remedy() -> String {
    format!("delete it, the leader then creates its own: kubectl -n {INJECTOR} delete secret {TLS_SECRET}")
}

/// The result of reading the Secret.
#[derive(Debug)]
pub enum Stored {
    Absent,
    Valid(Box<State>, Version),
    /// Created by the injector, but without a valid state; the leader replaces it.
    Damaged(DecodeError, Version),
    Unmanaged(Unmanaged),
}

/// The object that a write replaces: its resourceVersion must be unchanged, and its type and metadata are kept.
#[derive(Debug, Clone, Default)]
pub struct Version(Box<Secret>);

/// The Secret of one installation.
#[derive(Debug, Clone)]
pub struct TlsSecret {
    api: Api<Secret>,
}

impl TlsSecret {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    pub async fn read(&self) -> Result<Stored, StoreError> {
        let found = self.api.get_opt(TLS_SECRET).await.map_err(|source| failed("read", source))?;
        Ok(classify(found))
    }

    /// Writes a state over the version that was read, or creates the Secret if there was none.
    pub async fn write(&self, state: &State, over: Option<Version>) -> Result<(), StoreError> {
        let create = over.is_none();
        let secret = with_state(over, encode(state)?);
        let params = PostParams::default();
        let written = if create {
            self.api.create(&params, &secret).await
        } else {
            self.api.replace(TLS_SECRET, &params, &secret).await
        };
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 || (status.code == 404 && !create) => {
                Err(StoreError::Conflict)
            }
            Err(kube::Error::Api(status)) if status.code == 422 => {
                Err(StoreError::Invalid(status.message.clone()))
            }
            Err(source) => Err(failed("write", source)),
        }
    }

    pub fn watch(self) -> impl Stream<Item = Result<Stored, watcher::Error>> + Send {
        let changes = watcher::watch_object(self.api, TLS_SECRET).default_backoff();
        changes.map(|change| change.map(classify))
    }
}

fn classify(found: Option<Secret>) -> Stored {
    let Some(mut secret) = found else { return Stored::Absent };
    match decode(&secret.data.take().unwrap_or_default()) {
        Ok(state) => Stored::Valid(Box::new(state), Version(Box::new(secret))),
        Err(error) => match unmanaged(&secret) {
            Some(unmanaged) => Stored::Unmanaged(unmanaged),
            None => Stored::Damaged(error, Version(Box::new(secret))),
        },
    }
}

/// Returns the reason why a Secret without a valid state was not created by the injector, if it was not.
#[must_use]
pub fn unmanaged(secret: &Secret) -> Option<Unmanaged> {
    let kind = secret.type_.as_deref().unwrap_or(OPAQUE);
    let labels = secret.metadata.labels.as_ref();
    if kind != OPAQUE {
        Some(Unmanaged(format!("its type is {kind}")))
    } else if labels.and_then(|labels| labels.get(LABEL)).is_none_or(|value| value != INJECTOR) {
        Some(Unmanaged(format!("it has no label {LABEL}={INJECTOR}")))
    } else {
        None
    }
}

fn with_state(over: Option<Version>, data: Data) -> Secret {
    let mut secret = over.map(|version| *version.0).unwrap_or_default();
    secret.metadata.name = Some(TLS_SECRET.to_owned());
    secret.metadata.managed_fields = None;
    secret.metadata.labels.get_or_insert_default().insert(LABEL.to_owned(), INJECTOR.to_owned());
    Secret { data: Some(data), ..secret }
}

fn failed(verb: &'static str, source: kube::Error) -> StoreError {
    StoreError::Api { verb, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::{Action, Lifetimes, apply};
    use serde_json::json;

    fn data() -> Data {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let names = ["localhost".to_owned()];
        encode(&apply(Action::Start, None, &names, now, &Lifetimes::default()).unwrap()).unwrap()
    }

    fn secret(kind: &str, labels: &serde_json::Value, data: Option<&Data>) -> Secret {
        serde_json::from_value(json!({"metadata": {"labels": labels}, "type": kind, "data": data})).unwrap()
    }

    #[test]
    fn distinguishes_damaged_secrets_from_those_of_others() {
        let (ours, none) = (json!({ LABEL: INJECTOR }), json!({}));
        let other = || -> Option<Data> {
            Some([("tls.crt".to_owned(), k8s_openapi::ByteString(b"x".to_vec()))].into())
        };
        assert!(matches!(classify(None), Stored::Absent));
        assert!(matches!(classify(Some(secret(OPAQUE, &ours, Some(&data())))), Stored::Valid(..)));
        assert!(matches!(classify(Some(secret(OPAQUE, &ours, other().as_ref()))), Stored::Damaged(..)));
        assert!(
            matches!(classify(Some(secret(OPAQUE, &none, Some(&data())))), Stored::Valid(..)),
            "a restored backup"
        );
        for (kind, labels) in [("kubernetes.io/tls", &ours), (OPAQUE, &none)] {
            for data in [None, other()] {
                let Stored::Unmanaged(unmanaged) = classify(Some(secret(kind, labels, data.as_ref()))) else {
                    panic!("{kind} {labels} is unmanaged");
                };
                assert!(
                    unmanaged.to_string().contains("kubectl -n workflow-injector delete secret"),
                    "{unmanaged}"
                );
            }
        }
    }

    #[test]
    fn a_write_keeps_type_labels_annotations_and_owners() {
        let mut before = secret("kubernetes.io/tls", &json!({"team": "a"}), Some(&data()));
        before.metadata.annotations = Some([("note".to_owned(), "b".to_owned())].into());
        before.metadata.resource_version = Some("7".to_owned());
        let Stored::Valid(_, version) = classify(Some(before.clone())) else { panic!("it is valid") };
        let after = with_state(Some(version), data());
        assert_eq!(
            (&after.type_, &after.metadata.annotations),
            (&before.type_, &before.metadata.annotations)
        );
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        let labels = after.metadata.labels.unwrap_or_default();
        assert_eq!((labels["team"].as_str(), labels[LABEL].as_str()), ("a", INJECTOR));
    }
}
