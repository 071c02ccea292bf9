//! Proxies of the HTTP library: their addresses and their failures, separated from those of the server behind. Pure.

use std::io::ErrorKind;

use ureq::Error;

use super::tls;
use crate::config::proxy::{ProxyProtocol, ProxyUrl};
use crate::transport::dns::ResolveError;
use crate::transport::error::io_message;
use crate::transport::proxy::ProxyFault;

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
pub fn fault(proxy: &ProxyUrl, error: &Error) -> Option<ProxyFault> {
    match error {
        // The proxy resolves the server's name and connects to it, so these are about the proxy's own address.
        Error::HostNotFound => Some(ProxyFault::Unresolved),
        Error::Io(error)
            if error.kind() == ErrorKind::ConnectionRefused || ResolveError::of_io(error).is_some() =>
        {
            Some(ProxyFault::Unreachable(io_message(error)))
        }
        // The library reports denials of SOCKS by other kinds than faults that may pass.
        Error::Io(error) if proxy.protocol == ProxyProtocol::Socks5 && error.raw_os_error().is_none() => {
            Some(if error.kind() == ErrorKind::Other {
                ProxyFault::NoConnection(io_message(error))
            } else {
                ProxyFault::Denied(io_message(error))
            })
        }
        Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            Some(ProxyFault::NoConnection("no connection in time".into()))
        }
        // The library reports the status as text only.
        Error::ConnectProxyFailed(why) => {
            Some(match why.rsplit('/').next().and_then(|status| status.trim().parse::<u16>().ok()) {
                Some(407) => ProxyFault::Login,
                Some(status) => ProxyFault::Status(status),
                None => ProxyFault::NoConnection(why.clone()),
            })
        }
        // Either side's TLS may have failed, but a proxy that is given by https:// by mistake is far more common.
        error if proxy.protocol == ProxyProtocol::Https => match tls::error(error)? {
            rustls::Error::InvalidMessage(_) => {
                Some(ProxyFault::WrongProtocol("does not speak TLS; write it with http://"))
            }
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

    fn of(proxy: &str, error: &Error) -> Option<ProxyFault> {
        let proxies = Proxies::read(&|name| (name == "https_proxy").then(|| proxy.to_owned()));
        fault(&proxies.of(Scheme::Https, "h", 443).unwrap().unwrap(), error)
    }

    #[test]
    fn separates_faults_of_the_proxy() {
        let connect = |status| Error::ConnectProxyFailed(format!("proxy server responded {status}/{status}"));
        for (error, expected) in [
            (
                Error::Io(ErrorKind::ConnectionRefused.into()),
                ProxyFault::Unreachable("connection refused".into()),
            ),
            (Error::HostNotFound, ProxyFault::Unresolved),
            (connect(407), ProxyFault::Login),
            (connect(503), ProxyFault::Status(503)),
            (Error::ConnectProxyFailed("no response".into()), ProxyFault::NoConnection("no response".into())),
        ] {
            assert_eq!(of("http://me:s3cret@p:3128", &error), Some(expected));
        }
    }

    #[test]
    fn leaves_faults_of_the_server_alone() {
        let reset = Error::Io(ErrorKind::ConnectionReset.into());
        assert_eq!(of("http://p:3128", &reset), None);
        let plain =
            || Error::Rustls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert_eq!(of("http://p:3128", &plain()), None);
        assert!(matches!(of("https://p:3128", &plain()), Some(ProxyFault::WrongProtocol(_))));
    }
}
