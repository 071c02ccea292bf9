//! Errors of connections to git servers.

use std::io;
use std::time::Duration;

use workflow_contract::policy::NotAllowed;
use workflow_contract::text;

use crate::config::proxy::ProxyError;
use crate::pack::PackError;
use crate::protocol::ProtocolError;
use crate::retry::{MAX_ATTEMPTS, MAX_ATTEMPTS_UNRESOLVED, MAX_WAITING, Retryable};

/// A repository that could not be listed or fetched. `host` includes a port other than the scheme's own; `words` is the
/// server's message after `: `, or empty.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A redirect leads outside the policy.
    #[error("the server redirects to {to}: {source}")]
    RedirectNotAllowed { to: String, source: NotAllowed },
    /// A redirect to a scheme that is never followed: https stays https, also if the policy allows http.
    #[error(
        "the server redirects to {to}; from https only https is followed; use the URL where the repository is now"
    )]
    RedirectToScheme { to: String },
    /// A redirect without a usable target.
    #[error("the server of {host} redirects {why}; check the URL")]
    BadRedirect { host: String, why: String },
    /// 401, or 403.
    #[error("{host} denies access: the repository does not exist or needs credentials; {tried}")]
    Unauthorized {
        host: String,
        /// The credentials that were tried, and the remedy.
        tried: String,
    },
    /// 404, or a message that means the same.
    #[error("{host} has no such repository{words}; check the URL")]
    NotFound { host: String, words: String },
    /// The name has no address.
    #[error("the host name {host} does not resolve; check the URL")]
    Unresolved { host: String },
    /// No connection, or one that broke.
    #[error(
        "{host} cannot be reached: {why}; check that it is up, and that network policy and proxy let this pod reach it"
    )]
    Unreachable { host: String, why: String },
    /// A proxy that gives no connection to the server.
    #[error("the proxy {proxy} {why}; check HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY")]
    Proxy { proxy: String, why: String, retry: Option<Retryable> },
    /// The connection broke while a response was read.
    #[error("the connection broke {doing}: {why}; check the server and the network on the way")]
    Broken {
        /// The part that was being read, such as `in the pack`.
        doing: &'static str,
        why: String,
    },
    /// The server's certificate or TLS itself.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        host: String,
        /// The fault and the remedy.
        why: String,
    },
    /// A port that serves another protocol than TLS.
    #[error("{host} does not speak TLS; check scheme and port of the URL")]
    NotTls { host: String },
    /// The platform's token endpoint failed for now.
    #[error("the git server demands a token, and the platform could not provide one ({provider}): {source}")]
    Platform {
        /// `github` or `gitlab`.
        provider: &'static str,
        source: Box<Self>,
    },
    /// The server's ssh host key is unknown or has changed.
    #[error("{host} cannot be trusted: {why}")]
    HostKey {
        host: String,
        /// The fault and the remedy.
        why: String,
    },
    /// An ssh server without an algorithm that both sides accept.
    #[error("ssh with {host} failed: {why}; allow one that this client supports in the server's settings")]
    NoCommonAlgorithm { host: String, why: String },
    /// Any other HTTP status.
    #[error("{host} responded with {status}{words}; {}", advice(*status, *after))]
    Status {
        host: String,
        status: u16,
        words: String,
        /// The server's `Retry-After`.
        after: Option<Duration>,
    },
    /// A response that is not git protocol.
    #[error("{host} does not respond as a git server: {why}; check the URL")]
    NotGit { host: String, why: String },
    /// A proxy variable that only a redirect needs.
    #[error(transparent)]
    ProxySetting(#[from] ProxyError),
    #[error(transparent)]
    Protocol(ProtocolError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl From<ProtocolError> for TransportError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Pack(error) => Self::Pack(error),
            ProtocolError::Read { doing, source } => Self::Broken { doing, why: io_message(&source) },
            other => Self::Protocol(other),
        }
    }
}

impl TransportError {
    /// Returns how to retry; `None` if another attempt cannot help.
    pub fn retryable(&self) -> Option<Retryable> {
        let plain = Retryable { max_attempts: MAX_ATTEMPTS, after: None };
        match self {
            Self::Unresolved { .. } => Some(Retryable { max_attempts: MAX_ATTEMPTS_UNRESOLVED, ..plain }),
            Self::Unreachable { .. } | Self::Broken { .. } => Some(plain),
            Self::Protocol(error) => error.is_transient().then_some(plain),
            Self::Pack(error) => error.is_transient().then_some(plain),
            Self::Status { status, after, .. } => {
                passes(*status).then_some(Retryable { after: *after, ..plain })
            }
            Self::Proxy { retry, .. } => *retry,
            Self::Platform { source, .. } => source.retryable(),
            Self::RedirectNotAllowed { .. }
            | Self::RedirectToScheme { .. }
            | Self::BadRedirect { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::NotTls { .. }
            | Self::HostKey { .. }
            | Self::NotGit { .. }
            | Self::ProxySetting(_)
            | Self::NoCommonAlgorithm { .. } => None,
        }
    }
}

/// Reports whether a status may pass.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// Returns the remedy for a status.
fn advice(status: u16, after: Option<Duration>) -> String {
    match after.filter(|after| *after > MAX_WAITING) {
        Some(after) if passes(status) => format!("try again in {} s, as it requests", after.as_secs()),
        _ if passes(status) => "try again later, or contact its administrator".to_owned(),
        _ => "check the URL".to_owned(),
    }
}

/// Describes an I/O error.
pub fn io_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "no connection in time".into(),
        io::ErrorKind::WouldBlock => "no response in time".into(),
        io::ErrorKind::UnexpectedEof => "it closed the connection without a response".into(),
        _ => {
            let source = error.get_ref().and_then(|inner| inner.source()).map(ToString::to_string);
            text::sanitize(&source.unwrap_or_else(|| error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeError;

    fn status(status: u16) -> TransportError {
        TransportError::Status { host: "h".into(), status, words: String::new(), after: None }
    }

    #[test]
    fn retries_only_failures_that_may_pass() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(status(code).retryable().is_some(), "{code}");
        }
        for code in [204, 400, 402, 405, 410, 418, 451] {
            assert!(status(code).retryable().is_none(), "{code}");
        }
        let host = || "h".to_owned();
        for error in [
            TransportError::Unreachable { host: host(), why: String::new() },
            ProtocolError::Truncated("x").into(),
            PackError::Corrupt(String::new()).into(),
        ] {
            assert!(error.retryable().is_some(), "{error}");
        }
        for error in [
            TransportError::NotFound { host: host(), words: String::new() },
            TransportError::Unauthorized { host: host(), tried: String::new() },
            TransportError::Tls { host: host(), why: String::new() },
            PackError::TooLarge { limit: 1, unit: "bytes", setting: "X" }.into(),
            ProtocolError::Excessive { limit: 1, unit: "bytes" }.into(),
            PackError::from(VolumeError::new("write", std::path::Path::new("/x"), io::Error::other("x")))
                .into(),
        ] {
            assert!(error.retryable().is_none(), "{error}");
        }
    }

    #[test]
    fn gives_unresolved_names_two_attempts() {
        let retryable = TransportError::Unresolved { host: "h".into() }.retryable().unwrap();
        assert_eq!(retryable.max_attempts, 2);
    }
}
