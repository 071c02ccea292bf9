//! From a host name to a session that is authenticated, on both sides.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ssh2::{ErrorCode, MethodType, Session};
use workflow_contract::{RepoUrl, Scheme, text};

use super::hostkey;
use crate::credentials::ssh::SshKey;
use crate::transport::TransportError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, in milliseconds.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// Who logs in where the URL names nobody: what all hosts of git agree on.
const USER: &str = "git";

// Error numbers of libssh2 (libssh2.h).
const TIMEOUT: i32 = -9;
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;
const METHOD_NONE: i32 = -17;
const SOCKETS: [i32; 4] = [-7, -13, -43, -45];

/// Connects, checks the server's key, and authenticates.
///
/// # Errors
/// [`TransportError::HostKey`], [`TransportError::Unauthorized`], and those of connecting.
pub fn session(url: &RepoUrl, key: &SshKey) -> Result<Session, TransportError> {
    let host = host_of(url);
    if key.private.is_none() && password(url).is_none() {
        let tried =
            "no ssh key is set: add ssh-privatekey and known_hosts to the Secret workflow-credentials";
        return Err(TransportError::Unauthorized { host, tried: tried.into() });
    }
    let stream = tcp(url)?;
    let mut session = Session::new().map_err(|error| failed(&host, &error))?;
    session.set_timeout(IDLE_TIMEOUT_MS);
    session.set_tcp_stream(stream);
    let name = url.host().trim_matches(['[', ']']);
    let known = key.known_hosts.as_deref().unwrap_or_default();
    let preferred = hostkey::algorithms(known, name);
    session.method_pref(MethodType::HostKey, &preferred).map_err(|error| failed(&host, &error))?;
    session.handshake().map_err(|error| failed(&host, &error))?;
    hostkey::check(&session, known, name, url.port())
        .map_err(|why| TransportError::HostKey { host: host.clone(), why })?;
    authenticate(&session, url, key, &host)?;
    Ok(session)
}

fn authenticate(session: &Session, url: &RepoUrl, key: &SshKey, host: &str) -> Result<(), TransportError> {
    let user = url.userinfo().map(|info| info.username.expose()).filter(|user| !user.is_empty());
    let user = user.unwrap_or(USER);
    let mut tried = Vec::new();
    if let Some(private) = &key.private {
        // libssh2 wants the last line to end; Secrets are trimmed.
        let pem = format!("{}\n", private.expose());
        match session.userauth_pubkey_memory(user, None, &pem, None) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(refused(host, &error, "the Secret's ssh-privatekey")?),
        }
    }
    if let Some(password) = password(url) {
        match session.userauth_password(user, password) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(refused(host, &error, "the URL's own password")?),
        }
    }
    Err(TransportError::Unauthorized { host: host.to_owned(), tried: format!("tried: {}", tried.join(", ")) })
}

/// What to say of a credential that was refused; an error where that is not what happened.
fn refused(host: &str, error: &ssh2::Error, what: &str) -> Result<String, TransportError> {
    match error.code() {
        ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED | METHOD_NONE) => Ok(what.to_owned()),
        ErrorCode::Session(code) if code == TIMEOUT || SOCKETS.contains(&code) => Err(failed(host, error)),
        _ => Ok(format!(
            "{what}, which can't be used ({}); a key must be in PEM or OpenSSH form, without a passphrase",
            text::foreign(error.message())
        )),
    }
}

fn password(url: &RepoUrl) -> Option<&str> {
    url.userinfo().map(|info| info.password.expose()).filter(|password| !password.is_empty())
}

fn tcp(url: &RepoUrl) -> Result<TcpStream, TransportError> {
    let host = host_of(url);
    let name = url.host().trim_matches(['[', ']']);
    let addresses = (name, url.port())
        .to_socket_addrs()
        .map_err(|_| TransportError::Unresolved { host: host.clone() })?;
    let mut last = TransportError::Unresolved { host: host.clone() };
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                // Without it, what is sent small waits for what was sent before.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = TransportError::Unreachable { host: host.clone(), why: words(&error) },
        }
    }
    Err(last)
}

/// What a failed step of the session means.
pub fn failed(host: &str, error: &ssh2::Error) -> TransportError {
    let why = match error.code() {
        ErrorCode::Session(TIMEOUT) => "it stopped answering".into(),
        _ => format!("ssh failed ({})", text::foreign(error.message())),
    };
    TransportError::Unreachable { host: host.to_owned(), why }
}

/// An error of the system in words.
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "no connection in time".into(),
        _ => text::foreign(&error.to_string()),
    }
}

/// The host, fit for a message; with its port where it is not ssh's own.
pub fn host_of(url: &RepoUrl) -> String {
    let host = text::foreign(url.host());
    if url.port() == Scheme::Ssh.default_port() { host } else { format!("{host}:{}", url.port()) }
}
