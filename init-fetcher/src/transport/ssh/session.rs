//! From a host name to a session with the right server.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ssh2::{MethodType, Session};
use workflow_contract::RepoUrl;

use super::auth::{authenticate, possible};
use super::error::{failed, host_of};
use super::host_key;
use super::known_hosts::KnownHosts;
use crate::credentials::ssh::SshKey;
use crate::transport::TransportError;
use crate::transport::error::io_message;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, in milliseconds.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// Connects, checks the server's key, and logs in.
///
/// # Errors
/// [`TransportError::HostKey`], [`TransportError::Unauthorized`], and those of connecting.
pub fn session(url: &RepoUrl, key: &SshKey) -> Result<Session, TransportError> {
    let host = host_of(url);
    possible(url, key)?;
    let stream = tcp(url)?;
    let mut session = Session::new().map_err(|error| failed(&host, &error))?;
    session.set_timeout(IDLE_TIMEOUT_MS);
    session.set_tcp_stream(stream);
    let known = KnownHosts::read(&key.known_hosts);
    let preferred = host_key::algorithms(&known.kinds(url.host(), url.port()));
    session.method_pref(MethodType::HostKey, &preferred).map_err(|error| failed(&host, &error))?;
    session.handshake().map_err(|error| failed(&host, &error))?;
    host_key::check(&session, &known, url.host(), url.port())
        .map_err(|why| TransportError::HostKey { host: host.clone(), why })?;
    authenticate(&session, url, key)?;
    Ok(session)
}

fn tcp(url: &RepoUrl) -> Result<TcpStream, TransportError> {
    let host = host_of(url);
    let name = url.host().trim_matches(['[', ']']);
    let unresolved = || TransportError::Unresolved { host: host.clone() };
    let mut last = unresolved();
    for address in (name, url.port()).to_socket_addrs().map_err(|_| unresolved())? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                // Without it, what is sent small waits for what was sent before.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = TransportError::Unreachable { host: host.clone(), why: io_message(&error) },
        }
    }
    Err(last)
}
