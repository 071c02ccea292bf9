//! Connections to ssh servers: TCP, proxies, handshake, host key, login.

use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ssh2::{ErrorCode, MethodType, Session};
use workflow_contract::{RepoUrl, Scheme, text};

use super::auth::{authenticate, possible};
use super::error::{KEX_FAILURE, failed, host_of};
use super::known_hosts::KnownHosts;
use super::{host_key, offer};
use crate::config::proxy::{Proxies, ProxyProtocol, ProxyUrl};
use crate::credentials::ssh::SshKey;
use crate::transport::TransportError;
use crate::transport::dns::{self, ResolveError};
use crate::transport::error::io_message;
use crate::transport::proxy::ProxyFault;
use crate::transport::tunnel::{self, TunnelError};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for each read and write, in milliseconds.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// Connects, checks the server's key, and logs in.
///
/// # Errors
/// [`TransportError::HostKey`], [`TransportError::Unauthorized`], and those of connecting.
pub fn session(url: &RepoUrl, key: &SshKey, proxies: &Proxies) -> Result<Session, TransportError> {
    let host = host_of(url);
    possible(url, key)?;
    let stream = connect(url, proxies)?;
    let mut session = Session::new().map_err(|error| failed(&host, &error))?;
    session.set_timeout(IDLE_TIMEOUT_MS);
    session.set_tcp_stream(stream);
    let known = KnownHosts::read(key.known_hosts.as_deref());
    let preferred = host_key::algorithms(&known.kinds(url.host(), url.port()));
    session.method_pref(MethodType::HostKey, &preferred).map_err(|error| failed(&host, &error))?;
    session.handshake().map_err(|error| match error.code() {
        // Also the error of a connection that breaks meanwhile, so only the server's offer decides.
        ErrorCode::Session(KEX_FAILURE) => {
            no_common_algorithm(&session, url, proxies).unwrap_or_else(|| failed(&host, &error))
        }
        _ => failed(&host, &error),
    })?;
    host_key::check(&session, &known, url.host(), url.port())
        .map_err(|why| TransportError::HostKey { host: host.clone(), why })?;
    authenticate(&session, url, key)?;
    Ok(session)
}

fn connect(url: &RepoUrl, proxies: &Proxies) -> Result<TcpStream, TransportError> {
    match proxies.of(Scheme::Ssh, url.host(), url.port())? {
        Some(proxy) => through(&proxy, url),
        None => tcp(url.host(), url.port()).map_err(|error| unreachable(host_of(url), &error)),
    }
}

/// Explains a failed negotiation by the server's offer, which is read over a connection of its own; `None` if the offer
/// does not explain it.
fn no_common_algorithm(session: &Session, url: &RepoUrl, proxies: &Proxies) -> Option<TransportError> {
    let mut stream = connect(url, proxies).ok()?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).ok()?;
    stream.write_all(b"SSH-2.0-init-fetcher\r\n").ok()?;
    let offer = offer::read(&mut BufReader::new(stream)).ok()??;
    let supported = |method| session.supported_algs(method).unwrap_or_default();
    let (kind, offered) = [
        ("key exchange", &offer.key_exchange, supported(MethodType::Kex)),
        ("host key", &offer.host_key, host_key::negotiable()),
        ("cipher", &offer.cipher, supported(MethodType::CryptCs)),
        ("MAC", &offer.mac, supported(MethodType::MacCs)),
    ]
    .into_iter()
    .find(|(_, offered, ours)| !offered.split(',').any(|one| ours.contains(&one)))
    .map(|(kind, offered, _)| (kind, text::sanitize(offered)))?;
    let why = format!("no common {kind} algorithm; the server offers {offered}");
    Some(TransportError::NoCommonAlgorithm { host: host_of(url), why })
}

/// A TCP connection that failed.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{}", io_message(.0))]
    Io(#[from] io::Error),
}

fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Resolve(ResolveError::NoSuchName);
    for address in dns::resolve(host.trim_matches(['[', ']']), port, CONNECT_TIMEOUT)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                // Small writes are not held back for the acknowledgement of earlier ones.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn unreachable(host: String, error: &ConnectError) -> TransportError {
    match error {
        ConnectError::Resolve(ResolveError::NoSuchName) => TransportError::Unresolved { host },
        error => TransportError::Unreachable { host, why: error.to_string() },
    }
}

/// Connects to the server through a proxy.
fn through(proxy: &ProxyUrl, url: &RepoUrl) -> Result<TcpStream, TransportError> {
    tunnel_through(proxy, url).map_err(|fault| fault.at(proxy, &host_of(url)))
}

fn tunnel_through(proxy: &ProxyUrl, url: &RepoUrl) -> Result<TcpStream, ProxyFault> {
    let mut stream = tcp(&proxy.host, proxy.port).map_err(|error| match error {
        ConnectError::Resolve(ResolveError::NoSuchName) => ProxyFault::Unresolved,
        error => ProxyFault::Unreachable(error.to_string()),
    })?;
    let limit = |stream: &TcpStream, timeout| {
        stream
            .set_read_timeout(timeout)
            .and_then(|()| stream.set_write_timeout(timeout))
            .map_err(TunnelError::Io)
    };
    let login = proxy.login.as_ref();
    limit(&stream, Some(CONNECT_TIMEOUT))
        .and_then(|()| match proxy.protocol {
            ProxyProtocol::Socks5 => {
                tunnel::socks5(&mut stream, url.host().trim_matches(['[', ']']), url.port(), login)
            }
            ProxyProtocol::Http | ProxyProtocol::Https => {
                tunnel::connect(&mut stream, url.host(), url.port(), login)
            }
        })
        .and_then(|()| limit(&stream, None))
        .map_err(|error| match error {
            TunnelError::Login => ProxyFault::Login,
            TunnelError::Status(status) => ProxyFault::Status(status),
            TunnelError::Io(_) | TunnelError::Reply(_) => ProxyFault::NoConnection(error.to_string()),
            TunnelError::Protocol(_) => ProxyFault::Denied(error.to_string()),
        })?;
    Ok(stream)
}
