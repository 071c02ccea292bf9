//! What can go wrong between here and the server.

use std::io;
use std::time::Duration;

use workflow_contract::policy::NotAllowed;
use workflow_contract::text;

use crate::config::proxy::ProxyError;
use crate::pack::PackError;
use crate::protocol::ProtocolError;
use crate::retry::{MAX_ATTEMPTS, MAX_ATTEMPTS_UNRESOLVED, MAX_WAITING, Retryable};

/// Why a repository could not be listed or fetched.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A redirect leads outside the policy.
    #[error("the server redirects to {to}: {source}")]
    RedirectNotAllowed {
        /// Where to, without userinfo.
        to: String,
        /// What the policy says.
        source: NotAllowed,
    },
    /// A redirect to a scheme that is never followed to: TLS is not given up, whatever is allowed.
    #[error(
        "the server redirects to {to}; from https only https is followed; use the URL where the repository is now"
    )]
    RedirectToScheme {
        /// Where to, without userinfo.
        to: String,
    },
    /// A redirect that leads nowhere.
    #[error("the server of {host} redirects {why}; check the URL")]
    BadRedirect {
        /// The host asked.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// 401, or 403.
    #[error("{host} refuses access: the repository does not exist or needs credentials; {tried}")]
    Unauthorized {
        /// The host asked.
        host: String,
        /// Which credentials were tried, and what else may be done.
        tried: String,
    },
    /// 404, or the server's own words for it.
    #[error("{host} has no such repository{words}; check the URL")]
    NotFound {
        /// The host asked.
        host: String,
        /// The server's words, with what leads up to them, or nothing.
        words: String,
    },
    /// The name has no address.
    #[error("the host name {host} does not resolve; check the URL")]
    Unresolved {
        /// The host asked.
        host: String,
    },
    /// No connection, or one that broke.
    #[error(
        "{host} cannot be reached: {why}; check that it is up, and that network policy and proxy let this pod reach it"
    )]
    Unreachable {
        /// The host asked.
        host: String,
        /// What the system said.
        why: String,
    },
    /// The proxy, before it came to the server.
    #[error("the proxy {proxy} {why}; check HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// What is wrong with it.
        why: String,
        /// Whether that may pass.
        retry: Option<Retryable>,
    },
    /// The connection broke while an answer was read.
    #[error("the connection broke {doing}: {why}; look at the server, and at the network on the way")]
    Broken {
        /// What was being read.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
    /// The server's certificate or TLS itself.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// The host asked.
        host: String,
        /// What is wrong, and what may be done.
        why: String,
    },
    /// A port where something else than TLS is spoken.
    #[error("{host} does not speak TLS; check scheme and port of the URL")]
    NotTls {
        /// The host asked.
        host: String,
    },
    /// The platform could not say whether it has a token.
    #[error(
        "the git server wants a token, and the platform could not be asked for one ({provider}): {source}"
    )]
    Platform {
        /// For which kind of git server it was asked.
        provider: &'static str,
        /// What it answered, or why it did not.
        source: Box<Self>,
    },
    /// The server's ssh key is unknown or another than before.
    #[error("{host} can't be trusted: {why}")]
    HostKey {
        /// The host asked.
        host: String,
        /// What is wrong, and what may be done.
        why: String,
    },
    /// ssh found no algorithm that both sides accept.
    #[error("ssh with {host} failed: {why}; allow one that this client supports in the server's settings")]
    NoCommonAlgorithm { host: String, why: String },
    /// A status that says neither yes nor no.
    #[error("{host} answered {status}{words}; {}", advice(*status, *after))]
    Status {
        /// The host asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// The server's words, with what leads up to them, or nothing.
        words: String,
        /// What it asks for in `Retry-After`.
        after: Option<Duration>,
    },
    /// Something answered, but not a git server.
    #[error("{host} does not answer as a git server: {why}; check the URL")]
    NotGit {
        /// The host asked.
        host: String,
        /// What came instead.
        why: String,
    },
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
    /// Whether another attempt may help: only for what can pass.
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

/// Whether a status is one that passes.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// What to do about a status.
fn advice(status: u16, after: Option<Duration>) -> String {
    match after.filter(|after| *after > MAX_WAITING) {
        Some(after) if passes(status) => format!("try again in {} s, as it asks", after.as_secs()),
        _ if passes(status) => "try again later, or ask who runs it".to_owned(),
        _ => "check the URL".to_owned(),
    }
}

/// Describes an I/O error.
pub fn io_message(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "no connection in time".into(),
        io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "it closed the connection without an answer".into(),
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
    fn only_what_can_pass_is_tried_again() {
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
    fn a_name_that_does_not_resolve_gets_two_attempts() {
        let retryable = TransportError::Unresolved { host: "h".into() }.retryable().unwrap();
        assert_eq!(retryable.max_attempts, 2);
    }
}
