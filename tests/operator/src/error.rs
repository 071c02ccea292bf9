//! Errors of the operator's steps.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A failed step. The operator retries with backoff.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A call to the API server failed.
    #[error("failed to {action}")]
    Api { action: &'static str, source: kube::Error },
    /// An object does not have the shape that the API expects.
    #[error("failed to build the {kind}")]
    Shape { kind: &'static str, source: serde_json::Error },
    /// [`Settings::admission`](crate::Settings::admission) denied the pod.
    #[error("the pod was denied")]
    Denied(#[source] anyhow::Error),
}

impl OperatorError {
    /// Text of the cause, as the platform puts it into conditions.
    pub(crate) fn cause(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string)
    }
}

pub(crate) fn failed_to(action: &'static str) -> impl Fn(kube::Error) -> OperatorError {
    move |source| OperatorError::Api { action, source }
}

pub(crate) fn is_conflict(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
}

pub(crate) fn typed<K: DeserializeOwned>(kind: &'static str, object: Value) -> Result<K, OperatorError> {
    serde_json::from_value(object).map_err(|source| OperatorError::Shape { kind, source })
}
