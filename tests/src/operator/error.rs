//! Why a step of the operator fails.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a step could not be carried out. The operator tries again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A call to the API server failed.
    #[error("failed to {action}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What the API server or the connection to it said.
        source: kube::Error,
    },
    /// An object of the stand-in's own is not what the API expects.
    #[error("failed to make the {kind}")]
    Shape {
        /// Kind of the object.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Admission, where it is played, could not change the pod.
    #[error("failed to play admission")]
    Admission(#[source] anyhow::Error),
}

pub(super) fn failed_to(action: &'static str) -> impl Fn(kube::Error) -> OperatorError {
    move |source| OperatorError::Api { action, source }
}

pub(super) fn is_conflict(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
}

pub(super) fn typed<K: DeserializeOwned>(kind: &'static str, object: Value) -> Result<K, OperatorError> {
    serde_json::from_value(object).map_err(|source| OperatorError::Shape { kind, source })
}
