//! Failures of a proxy, separated from those of the server behind it. Pure.
//!
//! [`crate::config::proxy`] selects the proxy of a request.

use std::io::ErrorKind;

use ureq::Error;
use workflow_contract::text;

use super::tls;
use crate::config::proxy::{ProxyProtocol, ProxyUrl};
use crate::retry::{MAX_ATTEMPTS, MAX_ATTEMPTS_UNRESOLVED, Retryable};
use crate::transport::TransportError;
use crate::transport::dns::ResolveError;
use crate::transport::error::io_message;

/// Converts an address for the HTTP library.
pub fn of_library(proxy: &ProxyUrl) -> Result<ureq::Proxy, Error> {
    let protocol = match proxy.protocol {
        ProxyProtocol::Http => ureq::ProxyProtocol::Http,
        ProxyProtocol::Https => ureq::ProxyProtocol::Https,
        ProxyProtocol::Socks5 => ureq::ProxyProtocol::Socks5h,
    };
    let mut builder = ureq::Proxy::builder(protocol).host(&proxy.host).port(proxy.port);
    if let Some(login) = &proxy.login {
        builder = builder.username(login.username.expose()).password(login.password.expose());
    }
    builder.build()
}

/// Interprets a failed request through a proxy; `None` if it reached the server, or may have.
pub fn failed(proxy: &ProxyUrl, host: &str, error: &Error) -> Option<TransportError> {
    let of = |why: String, max_attempts| {
        let retry = (max_attempts > 1).then_some(Retryable { max_attempts, after: None });
        Some(TransportError::Proxy { proxy: proxy.to_string(), why, retry })
    };
    match error {
        // The proxy resolves the server's name and connects to it, so these are about the proxy's own address.
        Error::HostNotFound => {
            of(format!("cannot be reached: {}", ResolveError::NoSuchName), MAX_ATTEMPTS_UNRESOLVED)
        }
        Error::Io(error)
            if error.kind() == ErrorKind::ConnectionRefused || ResolveError::of_io(error).is_some() =>
        {
            of(format!("cannot be reached: {}", io_message(error)), MAX_ATTEMPTS)
        }
        Error::Io(error) if proxy.protocol == ProxyProtocol::Socks5 && error.raw_os_error().is_none() => {
            let retried = error.kind() == ErrorKind::Other;
            of(
                format!("gives no connection to {host} ({})", io_message(error)),
                if retried { MAX_ATTEMPTS } else { 1 },
            )
        }
        Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            of(format!("gives no connection to {host} in time"), MAX_ATTEMPTS)
        }
        Error::ConnectProxyFailed(why) => {
            // The library reports the status as text only.
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
        // Either side's TLS may have failed, but a proxy that is asked for TLS by mistake is far more common.
        error if proxy.protocol == ProxyProtocol::Https => match tls::error(error)? {
            rustls::Error::InvalidMessage(_) => of("does not speak TLS; write it with http://".into(), 1),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::proxy::Proxies;
    use workflow_contract::Scheme;

    fn of(proxy: &str, error: &Error) -> Option<(String, bool)> {
        let proxies = Proxies::read(&|name| (name == "https_proxy").then(|| proxy.to_owned()));
        let error = failed(&proxies.of(Scheme::Https, "h", 443).unwrap().unwrap(), "h", error)?;
        Some((error.to_string(), error.retryable().is_some()))
    }

    #[test]
    fn names_the_proxy_and_whether_that_may_pass() {
        let connect = |status| Error::ConnectProxyFailed(format!("proxy server responded {status}/{status}"));
        let refused = Error::Io(ErrorKind::ConnectionRefused.into());
        for (error, said, passes) in [
            (refused, "the proxy p:3128 cannot be reached: connection refused; ", true),
            (Error::HostNotFound, "the proxy p:3128 cannot be reached: its name does not resolve; ", true),
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
        let reset = Error::Io(ErrorKind::ConnectionReset.into());
        assert_eq!(of("http://p:3128", &reset), None);
        let plain =
            || Error::Rustls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert_eq!(of("http://p:3128", &plain()), None);
        assert!(of("https://p:3128", &plain()).unwrap().0.contains("write it with http://"));
    }
}
