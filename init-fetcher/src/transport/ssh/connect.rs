//! From a host name to a session with the right server.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ssh2::{ErrorCode, MethodType, Session};
use workflow_contract::{RepoUrl, Scheme, text};

use super::authenticate::{authenticate, possible};
use super::hostkey;
use super::known_hosts::KnownHosts;
use crate::credentials::ssh::SshKey;
use crate::transport::TransportError;
use crate::transport::http::io_words;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, in milliseconds.
const IDLE_TIMEOUT_MS: u32 = 30_000;

// Error numbers of libssh2 (libssh2.h).
/// The server was silent for too long.
pub const TIMEOUT: i32 = -9;
/// Sending, disconnected, receiving, bad socket.
pub const SOCKETS: [i32; 4] = [-7, -13, -43, -45];

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
    let preferred = hostkey::algorithms(&known.kinds(url.host(), url.port()));
    session.method_pref(MethodType::HostKey, &preferred).map_err(|error| failed(&host, &error))?;
    session.handshake().map_err(|error| failed(&host, &error))?;
    hostkey::check(&session, &known, url.host(), url.port())
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
            Err(error) => last = TransportError::Unreachable { host: host.clone(), why: io_words(&error) },
        }
    }
    Err(last)
}

/// What a failed step of the session means.
pub fn failed(host: &str, error: &ssh2::Error) -> TransportError {
    let why = match error.code() {
        ErrorCode::Session(TIMEOUT) => "it stopped answering".into(),
        _ => format!("ssh failed ({})", text::sanitize(error.message())),
    };
    TransportError::Unreachable { host: host.to_owned(), why }
}

/// The host, fit for a message; with its port where it is not ssh's own.
pub fn host_of(url: &RepoUrl) -> String {
    let host = text::sanitize(url.host());
    if url.port() == Scheme::Ssh.default_port() { host } else { format!("{host}:{}", url.port()) }
}
