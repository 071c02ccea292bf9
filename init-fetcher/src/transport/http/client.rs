//! The one HTTP client: TLS, proxies, names, timeouts. Nothing of git.
//!
//! It follows no redirect, retries nothing and adds no credential to a request: its callers decide that.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::WantsClientCert;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, NextTimeout, SocksConnector, TcpConnector,
};
use ureq::{Agent, Body, Error};
use url::Url;
use workflow_contract::Scheme;

use super::connector::TlsConnector;
use super::error::failed;
use super::identity::ClientIdentity;
use super::proxy;
use super::trust::{self, TrustError};
use super::verifier::Verifier;
use crate::config::TrustSettings;
use crate::config::proxy::{Proxies, ProxyUrl};
use crate::transport::TransportError;
use crate::transport::dns::{self, ResolveError};

/// Time limit for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for each read and write. Git sends keep-alives every 5 s while it packs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Some servers respond only to agents that start with `git/`.
const USER_AGENT: &str = concat!("git/2.0 (workflow-init-fetcher ", env!("CARGO_PKG_VERSION"), ")");

/// Maximum number of addresses of a name; the library holds no more.
const MAX_ADDRESSES: usize = 16;

type Builder = rustls::ConfigBuilder<ClientConfig, WantsClientCert>;

/// A response whose body is not read yet.
pub type HttpResponse = Response<Body>;

/// The client. Connections are kept for the next request to the same origin.
pub struct Client {
    tls: TlsConnector,
    proxies: Proxies,
    /// An agent for each proxy.
    agents: RefCell<Vec<(Option<ProxyUrl>, Agent)>>,
}

impl Client {
    /// Trusts the built-in roots and the certificates of `trust`.
    ///
    /// # Errors
    /// [`TrustError`] for files of CA certificates that cannot be used.
    pub fn new(
        trust: &TrustSettings,
        proxies: Proxies,
        identity: Option<ClientIdentity>,
    ) -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(trust::certificates(trust)?, &provider)?);
        let config = |with: &dyn Fn(Builder) -> ClientConfig| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone());
            Ok::<_, TrustError>(Arc::new(with(builder)))
        };
        let identity = identity.map(|identity| {
            let resolver = identity.resolver();
            let config = config(&|builder| builder.with_client_cert_resolver(Arc::clone(&resolver)))?;
            Ok::<_, TrustError>((identity.host, config))
        });
        let tls = TlsConnector::new(config(&Builder::with_no_client_auth)?, identity.transpose()?);
        Ok(Self { tls, proxies, agents: RefCell::default() })
    }

    /// `GET`.
    ///
    /// # Errors
    /// [`TransportError`] if no response arrived; every status is a response.
    pub fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<HttpResponse, TransportError> {
        self.get_through(self.proxy(url)?.as_ref(), url, headers)
    }

    /// `GET` that never goes through a proxy.
    pub fn get_directly(&self, url: &Url, headers: &[(&str, &str)]) -> Result<HttpResponse, TransportError> {
        self.get_through(None, url, headers)
    }

    fn get_through(
        &self,
        proxy: Option<&ProxyUrl>,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<HttpResponse, TransportError> {
        let agent = self.agent(url, proxy)?;
        let mut request = agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|error| failed(url, proxy, &error))
    }

    /// `POST`.
    ///
    /// # Errors
    /// [`TransportError`] if no response arrived; every status is a response.
    pub fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HttpResponse, TransportError> {
        let proxy = self.proxy(url)?;
        let agent = self.agent(url, proxy.as_ref())?;
        let mut request = agent.post(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).map_err(|error| failed(url, proxy.as_ref(), &error))
    }

    /// Returns the proxy for requests to this URL.
    fn proxy(&self, url: &Url) -> Result<Option<ProxyUrl>, TransportError> {
        let port = url.port_or_known_default().unwrap_or_default();
        let Some(scheme) = Scheme::from_name(url.scheme()) else { return Ok(None) };
        Ok(self.proxies.of(scheme, url.host_str().unwrap_or_default(), port)?)
    }

    fn agent(&self, url: &Url, proxy: Option<&ProxyUrl>) -> Result<Agent, TransportError> {
        let mut agents = self.agents.borrow_mut();
        if let Some((_, agent)) = agents.iter().find(|(of, _)| of.as_ref() == proxy) {
            return Ok(agent.clone());
        }
        let of_library =
            proxy.map(proxy::of_library).transpose().map_err(|error| failed(url, proxy, &error))?;
        let config = Config::builder()
            .proxy(of_library)
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
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(self.tls.clone());
        let agent = Agent::with_parts(config, connector, Names);
        agents.push((proxy.cloned(), agent.clone()));
        Ok(agent)
    }
}

/// Resolves names so that a name that does not exist is separated from failures that may pass.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("http") => 80,
            Some("socks5" | "socks5h") => 1080,
            _ => 443,
        });
        let limit = if timeout.after.is_not_happening() { CONNECT_TIMEOUT } else { *timeout.after };
        let addresses = dns::resolve(host, port, limit).map_err(|error| match error {
            ResolveError::NoSuchName => Error::HostNotFound,
            ResolveError::TimedOut => Error::Timeout(ureq::Timeout::Resolve),
            ResolveError::Temporary => Error::Io(io::Error::other(error)),
        })?;
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            resolved.push(address);
        }
        Ok(resolved)
    }
}
