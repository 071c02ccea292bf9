//! Calls of the API server, each with a time limit.

use std::error::Error;
use std::time::Duration;

use tokio::time::timeout;

use super::status_json::ShapeError;

/// Limit on one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Errors of writing a session's status or an Event. Each is retried.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("failed to {action}")]
    Api { action: &'static str, source: Box<kube::Error> },
    #[error("failed to {0}: no response within 10 s")]
    Timeout(&'static str),
    #[error("failed to decode the session")]
    Decode(#[from] serde_json::Error),
    #[error("failed to change the status")]
    Shape(#[from] ShapeError),
    #[error("failed to write the status: {0} conflicts in a row")]
    Contended(u32),
}

impl WriteError {
    /// Reports whether the API server responded with this status code.
    pub fn is_status(&self, code: u16) -> bool {
        self.status() == Some(code)
    }

    /// The status code, if the same request would get the same response.
    pub fn rejection(&self) -> Option<u16> {
        self.status().filter(|status| (400..500).contains(status) && *status != 429)
    }

    /// The API server's own message, else this error.
    pub fn server_message(&self) -> String {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.message.clone(),
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// The status code of the API server's response; none where it did not respond.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Awaits a call; `action` describes it in errors, such as `read the session`.
pub async fn call<T>(
    action: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(source)) => Err(WriteError::Api { action, source: Box::new(source) }),
        Err(_) => Err(WriteError::Timeout(action)),
    }
}

/// An error and its causes on one line; JSON logs would leave the causes out.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
