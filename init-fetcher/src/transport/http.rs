//! The one HTTP client: TLS, proxies, names, time-outs. It knows nothing of git.
//!
//! It follows no redirect, retries nothing and sends no credential of its own: those are decisions, and
//! they are taken above.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};
use url::Url;
use workflow_contract::{Scheme, text};

use super::redirect::host_of;
use super::{TransportError, proxy, tls, trust};
use crate::config::TrustSettings;
use crate::proxy::Proxies;

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent. Git sends keep-alives every 5 s while it packs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What requests call themselves. Some servers answer only to what starts with `git/`.
const USER_AGENT: &str = concat!("git/2.0 (workflow-init-fetcher ", env!("CARGO_PKG_VERSION"), ")");

/// An answer, its body unread.
pub type Answer = Response<Body>;

/// The client. Connections are kept for the next request to the same place.
pub struct Client {
    tls: TlsConfig,
    proxies: Proxies,
    agents: RefCell<Vec<(Option<ureq::Proxy>, Agent)>>,
}

impl Client {
    /// A client that trusts the built-in roots and these, and goes through these proxies.
    pub fn new(trust: &TrustSettings, proxies: Proxies) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(trust::roots(trust))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        Self { tls, proxies, agents: RefCell::default() }
    }

    /// `GET`.
    ///
    /// # Errors
    /// [`TransportError`] where no answer came; every status is an answer.
    pub fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Answer, TransportError> {
        self.get_through(self.proxy(url), url, headers)
    }

    /// `GET` that never goes through a proxy.
    pub fn get_directly(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Answer, TransportError> {
        self.get_through(None, url, headers)
    }

    fn get_through(
        &self,
        proxy: Option<ureq::Proxy>,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Answer, TransportError> {
        let agent = self.agent(proxy.as_ref());
        let mut request = agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|error| failed(url, proxy.as_ref(), &error))
    }

    /// `POST`.
    ///
    /// # Errors
    /// [`TransportError`] where no answer came; every status is an answer.
    pub fn post(&self, url: &Url, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, TransportError> {
        let proxy = self.proxy(url);
        let agent = self.agent(proxy.as_ref());
        let mut request = agent.post(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).map_err(|error| failed(url, proxy.as_ref(), &error))
    }

    /// The proxy for requests to this URL.
    fn proxy(&self, url: &Url) -> Option<ureq::Proxy> {
        let port = url.port_or_known_default().unwrap_or_default();
        self.proxies.of(Scheme::from_name(url.scheme())?, url.host_str().unwrap_or_default(), port)
    }

    /// The agent for this proxy.
    fn agent(&self, proxy: Option<&ureq::Proxy>) -> Agent {
        let mut agents = self.agents.borrow_mut();
        if let Some((_, agent)) = agents.iter().find(|(of, _)| of.as_ref() == proxy) {
            return agent.clone();
        }
        let config = Config::builder()
            .tls_config(self.tls.clone())
            .proxy(proxy.cloned())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(IDLE_TIMEOUT))
            .timeout_per_write(Some(IDLE_TIMEOUT))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Names::default());
        agents.push((proxy.cloned(), agent.clone()));
        agent
    }
}

/// Looks names up as the library does, but tells "no such name" from all other I/O errors.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            Error::Io(_) => Error::HostNotFound,
            other => other,
        })
    }
}

/// What a failed request means.
fn failed(url: &Url, proxy: Option<&ureq::Proxy>, error: &Error) -> TransportError {
    let host = host_of(url);
    if let Some(error) = proxy.and_then(|proxy| proxy::failed(proxy, &host, error)) {
        return error;
    }
    if let Some(error) = tls::error(error) {
        return tls::failed(error, host);
    }
    // What breaks behind a proxy can be either's fault.
    let by_way =
        proxy.map(|proxy| format!(", by way of the proxy {}", proxy::shown(proxy))).unwrap_or_default();
    let unreachable =
        |why: &str| TransportError::Unreachable { host: host.clone(), why: format!("{why}{by_way}") };
    match error {
        Error::HostNotFound => TransportError::Unresolved { host },
        Error::Timeout(ureq::Timeout::Resolve) => unreachable("its name could not be looked up in time"),
        Error::Timeout(ureq::Timeout::Connect) => unreachable("no connection in time"),
        Error::Timeout(_) => unreachable("it stopped answering"),
        Error::Io(error) => unreachable(&io_words(error)),
        Error::Tls(why) => TransportError::Tls { host, why: (*why).to_owned() },
        Error::Protocol(why) => TransportError::NotGit {
            host,
            why: format!("its HTTP is broken ({})", text::sanitize(&why.to_string())),
        },
        Error::LargeResponseHeader(..) => {
            TransportError::NotGit { host, why: "the headers of its answer are too large".into() }
        }
        other => unreachable(&text::sanitize(&other.to_string())),
    }
}

/// What an error while an answer's body is read means.
pub fn broken(error: &io::Error, doing: &'static str) -> TransportError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::Timeout(_)) => TransportError::Broken { doing, why: "the server stopped sending".into() },
        Some(Error::Protocol(why)) => TransportError::Protocol(text::sanitize(&why.to_string())),
        Some(Error::Io(inner)) => broken(inner, doing),
        _ if tls::of_io(error).is_some() => TransportError::Protocol(format!("TLS broke {doing}")),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => TransportError::Truncated(doing),
        _ => TransportError::Broken { doing, why: io_words(error) },
    }
}

/// What the system says, in the words of a person.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "no connection in time".into(),
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

    #[test]
    fn tells_the_kinds_of_failure_apart() {
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
    fn tells_a_body_that_ends_from_one_that_breaks() {
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(matches!(broken(&eof, "x"), TransportError::Truncated("x")));
        let wrapped = io::Error::other(Error::Io(io::Error::from(io::ErrorKind::ConnectionReset)));
        let error = broken(&wrapped, "in the pack");
        assert!(
            error.to_string().starts_with("the connection broke in the pack: connection reset; "),
            "{error}"
        );
        let garbled = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(matches!(broken(&garbled, "x"), TransportError::Protocol(_)));
        let stalled = io::Error::other(Error::Timeout(ureq::Timeout::PerRead));
        assert!(matches!(broken(&stalled, "x"), TransportError::Broken { .. }));
    }
}
