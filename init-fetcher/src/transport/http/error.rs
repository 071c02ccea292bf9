//! Conversion of errors of the HTTP library. Pure.

use std::io;

use ureq::Error;
use url::Url;
use workflow_contract::text;

use super::redirect::host_of;
use super::{proxy, tls};
use crate::config::proxy::ProxyUrl;
use crate::protocol::ProtocolError;
use crate::transport::TransportError;
use crate::transport::dns::ResolveError;
use crate::transport::error::io_message;

/// Converts the error of a failed request.
pub fn failed(url: &Url, proxy: Option<&ProxyUrl>, error: &Error) -> TransportError {
    let host = host_of(url);
    if let Some(proxy) = proxy
        && let Some(fault) = proxy::fault(proxy, error)
    {
        return fault.at(proxy, &host);
    }
    if let Some(error) = tls::error(error) {
        return tls::failed(error, host);
    }
    // Behind a proxy, either side may have closed the connection.
    let by_way = proxy.map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    let unreachable =
        |why: &str| TransportError::Unreachable { host: host.clone(), why: format!("{why}{by_way}") };
    match error {
        Error::HostNotFound => TransportError::Unresolved { host },
        Error::Timeout(ureq::Timeout::Resolve) => unreachable(&ResolveError::TimedOut.to_string()),
        Error::Timeout(ureq::Timeout::Connect) => unreachable("no connection in time"),
        Error::Timeout(_) => unreachable("it stopped responding"),
        Error::Io(error) => unreachable(&io_message(error)),
        Error::Tls(why) => TransportError::Tls { host, why: (*why).to_owned() },
        Error::Protocol(why) => TransportError::NotGit {
            host,
            why: format!("its HTTP is broken ({})", text::sanitize(&why.to_string())),
        },
        Error::LargeResponseHeader(..) => {
            TransportError::NotGit { host, why: "the headers of its response are too large".into() }
        }
        other => unreachable(&text::sanitize(&other.to_string())),
    }
}

/// Converts an error of reading a response's body.
pub fn broken(error: &io::Error, doing: &'static str) -> TransportError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::Timeout(_)) => TransportError::Broken { doing, why: "the server stopped sending".into() },
        Some(Error::Protocol(why)) => malformed(text::sanitize(&why.to_string())),
        Some(Error::Io(inner)) => broken(inner, doing),
        _ if tls::of_io(error).is_some() => malformed(format!("TLS broke {doing}")),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => ProtocolError::Truncated(doing).into(),
        _ => TransportError::Broken { doing, why: io_message(error) },
    }
}

/// Converts an error of reading a response, with errors of the HTTP library in it.
pub fn received(error: ProtocolError) -> TransportError {
    match error {
        ProtocolError::Read { doing, source } => broken(&source, doing),
        other => other.into(),
    }
}

fn malformed(why: String) -> TransportError {
    ProtocolError::Malformed(why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separates_kinds_of_failure() {
        let url = Url::parse("https://h:8443/r").unwrap();
        let io = |kind| Error::Io(io::Error::from(kind));
        let of = |error| failed(&url, None, &error);
        assert!(matches!(of(Error::HostNotFound), TransportError::Unresolved { .. }));
        assert!(matches!(of(io(io::ErrorKind::ConnectionRefused)), TransportError::Unreachable { .. }));
        assert!(matches!(of(Error::Timeout(ureq::Timeout::PerRead)), TransportError::Unreachable { .. }));
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = Error::Io(io::Error::new(io::ErrorKind::InvalidData, expired));
        let error = of(wrapped);
        assert!(matches!(error, TransportError::Tls { .. }));
        assert!(error.to_string().contains("h:8443") && error.to_string().contains("expired"), "{error}");
    }

    #[test]
    fn separates_truncated_from_broken_bodies() {
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(matches!(broken(&eof, "x"), TransportError::Protocol(ProtocolError::Truncated("x"))));
        let wrapped = io::Error::other(Error::Io(io::Error::from(io::ErrorKind::ConnectionReset)));
        let error = broken(&wrapped, "in the pack");
        assert!(
            error.to_string().starts_with("the connection broke in the pack: connection reset; "),
            "{error}"
        );
        let garbled = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(matches!(broken(&garbled, "x"), TransportError::Protocol(ProtocolError::Malformed(_))));
        let stalled = io::Error::other(Error::Timeout(ureq::Timeout::PerRead));
        assert!(matches!(broken(&stalled, "x"), TransportError::Broken { .. }));
    }
}
