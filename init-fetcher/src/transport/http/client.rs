//! The one HTTP client: TLS, proxies, names, time-outs. It knows nothing of git.
//!
//! It follows no redirect, retries nothing and sends no credential of its own: those are decisions, and
//! they are taken above.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};
use url::Url;
use workflow_contract::Scheme;

use super::error::failed;
use super::trust;
use crate::config::TrustSettings;
use crate::config::proxy::Proxies;
use crate::transport::TransportError;

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
        self.get_through(self.proxy(url).as_ref(), url, headers)
    }

    /// `GET` that never goes through a proxy.
    pub fn get_directly(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Answer, TransportError> {
        self.get_through(None, url, headers)
    }

    fn get_through(
        &self,
        proxy: Option<&ureq::Proxy>,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Answer, TransportError> {
        let agent = self.agent(proxy);
        let mut request = agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|error| failed(url, proxy, &error))
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
