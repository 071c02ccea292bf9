//! What is wrong with a proxy, told apart from what is wrong with the server behind it. Pure.
//!
//! Which proxy a request goes through is in [`crate::config::proxy`].

use ureq::{Error, ProxyProtocol};
use workflow_contract::text;

use super::tls;
use crate::retry::{MAX_ATTEMPTS, MAX_ATTEMPTS_UNRESOLVED, Retryable};
use crate::transport::TransportError;
use crate::transport::error::io_message;

/// A proxy's host and port; never its user name and password.
pub fn shown(proxy: &ureq::Proxy) -> String {
    format!("{}:{}", text::sanitize(proxy.host()), proxy.port())
}

/// What a failed request by way of a proxy means, where it never came to the server.
pub fn failed(proxy: &ureq::Proxy, host: &str, error: &Error) -> Option<TransportError> {
    let of = |why: String, max_attempts| {
        let retry = (max_attempts > 1).then_some(Retryable { max_attempts, after: None });
        Some(TransportError::Proxy { proxy: shown(proxy), why, retry })
    };
    match error {
        // Names and refused connections are the proxy's: the server's are looked up and met by the proxy.
        Error::HostNotFound => {
            of("can't be reached: its name does not resolve".into(), MAX_ATTEMPTS_UNRESOLVED)
        }
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            of(format!("can't be reached: {}", io_message(error)), MAX_ATTEMPTS)
        }
        Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            of(format!("gives no connection to {host} in time"), MAX_ATTEMPTS)
        }
        Error::ConnectProxyFailed(why) => {
            // The library gives the status in words of its own.
            match why.rsplit('/').next().and_then(|status| status.trim().parse::<u16>().ok()) {
                Some(407) => of(
                    format!("refuses to connect to {host} without another user name and password (407)"),
                    1,
                ),
                Some(status) => {
                    let passes = status == 429 || status >= 500;
                    of(
                        format!("refuses to connect to {host} ({status})"),
                        if passes { MAX_ATTEMPTS } else { 1 },
                    )
                }
                None => of(format!("does not connect to {host} ({})", text::sanitize(why)), MAX_ATTEMPTS),
            }
        }
        // It can't be told whose TLS it is, but a proxy that is asked for TLS by mistake is far more common.
        error if proxy.protocol() == ProxyProtocol::Https => match tls::error(error)? {
            rustls::Error::InvalidMessage(_) => of("does not speak TLS; write it with http://".into(), 1),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(proxy: &str, error: &Error) -> Option<(String, bool)> {
        let error = failed(&ureq::Proxy::new(proxy).unwrap(), "h", error)?;
        Some((error.to_string(), error.retryable().is_some()))
    }

    #[test]
    fn names_the_proxy_and_whether_that_may_pass() {
        let connect = |status| Error::ConnectProxyFailed(format!("proxy server responded {status}/{status}"));
        let refused = Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        for (error, said, passes) in [
            (refused, "the proxy p:3128 can't be reached: connection refused; ", true),
            (Error::HostNotFound, "the proxy p:3128 can't be reached: its name does not resolve; ", true),
            (connect(407), "refuses to connect to h without another user name and password (407)", false),
            (connect(403), "refuses to connect to h (403)", false),
            (connect(503), "refuses to connect to h (503)", true),
            (Error::ConnectProxyFailed("no answer".into()), "does not connect to h (no answer)", true),
        ] {
            let (message, retried) = of("http://me:s3cret@p:3128", &error).unwrap();
            assert!(message.contains(said) && !message.contains("s3cret"), "{message}");
            assert_eq!(retried, passes, "{message}");
        }
    }

    #[test]
    fn leaves_to_the_server_what_is_the_servers() {
        let reset = Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(of("http://p:3128", &reset), None);
        let plain =
            || Error::Rustls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert_eq!(of("http://p:3128", &plain()), None);
        assert!(of("https://p:3128", &plain()).unwrap().0.contains("write it with http://"));
    }
}
