//! Failures of a proxy, worded alike for https and ssh. Pure.
//!
//! [`crate::config::proxy`] selects the proxy of a connection.

use workflow_contract::text;

use super::TransportError;
use super::dns::ResolveError;
use crate::config::proxy::ProxyUrl;
use crate::retry::{MAX_ATTEMPTS, MAX_ATTEMPTS_UNRESOLVED, Retryable};

/// A proxy that gives no connection to a server.
#[derive(Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// The proxy's own name has no address.
    Unresolved,
    /// There is no connection to the proxy, for this reason.
    Unreachable(String),
    /// The proxy demands another user name and password.
    Login,
    /// The proxy denies the connection with a status of CONNECT.
    Status(u16),
    /// The proxy denies the connection for another reason.
    Denied(String),
    /// The proxy gives no connection for another reason, which may pass.
    NoConnection(String),
    /// The setting does not fit the proxy.
    WrongProtocol(&'static str),
}

impl ProxyFault {
    /// Names the proxy and the server's host.
    pub fn at(self, proxy: &ProxyUrl, host: &str) -> TransportError {
        let (why, max_attempts) = match self {
            Self::Unresolved => {
                (format!("cannot be reached: {}", ResolveError::NoSuchName), MAX_ATTEMPTS_UNRESOLVED)
            }
            Self::Unreachable(why) => (format!("cannot be reached: {}", text::sanitize(&why)), MAX_ATTEMPTS),
            Self::Login => (
                format!("gives no connection to {host}: the user name and password are missing or denied"),
                1,
            ),
            Self::Status(status) => {
                let attempts = if status == 429 || status >= 500 { MAX_ATTEMPTS } else { 1 };
                (format!("gives no connection to {host}: status {status}"), attempts)
            }
            Self::Denied(why) => (format!("gives no connection to {host}: {}", text::sanitize(&why)), 1),
            Self::NoConnection(why) => {
                (format!("gives no connection to {host}: {}", text::sanitize(&why)), MAX_ATTEMPTS)
            }
            Self::WrongProtocol(why) => (why.to_owned(), 1),
        };
        let retry = (max_attempts > 1).then_some(Retryable { max_attempts, after: None });
        TransportError::Proxy { proxy: proxy.to_string(), why, retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::proxy::Proxies;
    use workflow_contract::Scheme;

    #[test]
    fn names_the_proxy_and_retries_what_may_pass() {
        let address = "http://me:s3cret@p:3128";
        let proxies = Proxies::read(&|name| (name == "https_proxy").then(|| address.to_owned()));
        let proxy = proxies.of(Scheme::Https, "h", 443).unwrap().unwrap();
        for (fault, expected, attempts) in [
            (
                ProxyFault::Unresolved,
                "the proxy p:3128 cannot be reached: its name does not resolve; ",
                Some(2),
            ),
            (ProxyFault::Unreachable("refused".into()), "p:3128 cannot be reached: refused; ", Some(5)),
            (ProxyFault::Login, "gives no connection to h: the user name and password are missing", None),
            (ProxyFault::Status(403), "gives no connection to h: status 403", None),
            (ProxyFault::Status(429), "status 429", Some(5)),
            (ProxyFault::Status(503), "status 503", Some(5)),
            (ProxyFault::Denied("not allowed".into()), "gives no connection to h: not allowed", None),
            (ProxyFault::NoConnection("closed".into()), "gives no connection to h: closed", Some(5)),
            (ProxyFault::WrongProtocol("does not speak TLS"), "p:3128 does not speak TLS; ", None),
        ] {
            let error = fault.at(&proxy, "h");
            let message = error.to_string();
            assert!(message.contains(expected) && !message.contains("s3cret"), "{message}");
            assert_eq!(error.retryable().map(|retryable| retryable.max_attempts), attempts, "{message}");
        }
    }
}
