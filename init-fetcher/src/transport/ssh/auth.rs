//! Authentication, after the server's key was checked.

use ssh2::{ErrorCode, Session};
use workflow_contract::{RepoUrl, text};

use super::error::{SOCKETS, TIMEOUT, failed, host_of};
use crate::credentials::ssh::{SshKey, unusable};
use crate::transport::TransportError;

/// User of a URL without one, as on all forges.
const USER: &str = "git";

// Error numbers of libssh2 (libssh2.h) for a denied credential.
const METHOD_NONE: i32 = -17;
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;

/// Checks that there is a credential at all, before a connection is opened.
///
/// # Errors
/// [`TransportError::Unauthorized`].
pub fn possible(url: &RepoUrl, key: &SshKey) -> Result<(), TransportError> {
    if key.private.is_some() || password(url).is_some() {
        return Ok(());
    }
    let tried = "no ssh key is set: add the keys ssh-privatekey and known_hosts to the Secret \
                 workflow-credentials";
    Err(TransportError::Unauthorized { host: host_of(url), tried: tried.into() })
}

/// Logs in: with the URL's own password, then with the Secret's key; each is tried once.
///
/// # Errors
/// [`TransportError::Unauthorized`] with what was tried, and those of a broken connection.
pub fn authenticate(session: &Session, url: &RepoUrl, key: &SshKey) -> Result<(), TransportError> {
    let host = host_of(url);
    let user = url.userinfo().map(|info| info.username.expose()).filter(|user| !user.is_empty());
    let user = user.unwrap_or(USER);
    let mut tried = Vec::new();
    if let Some(password) = password(url) {
        match session.userauth_password(user, password) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(denied(&host, &error, "the URL's own user name and password")?),
        }
    }
    if let Some(private) = &key.private {
        const KEY: &str = "the Secret's ssh-privatekey";
        const REGISTERED: &str = "is its public half registered there?";
        if let Some(why) = unusable(private) {
            tried.push(format!("{KEY}, {why}"));
        } else {
            // libssh2 wants the last line to end; Secrets are trimmed.
            let pem = format!("{}\n", private.expose());
            match session.userauth_pubkey_memory(user, None, &pem, None) {
                Ok(()) => return Ok(()),
                Err(error) => tried.push(denied(&host, &error, &format!("{KEY} ({REGISTERED})"))?),
            }
        }
    }
    Err(TransportError::Unauthorized { host, tried: format!("tried: {}", tried.join(", ")) })
}

/// Describes a denied credential; returns the error if it failed for another reason.
fn denied(host: &str, error: &ssh2::Error, what: &str) -> Result<String, TransportError> {
    match error.code() {
        ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED | METHOD_NONE) => Ok(what.to_owned()),
        ErrorCode::Session(code) if code == TIMEOUT || SOCKETS.contains(&code) => Err(failed(host, error)),
        _ => Ok(format!("{what}, which cannot be used ({})", text::sanitize(error.message()))),
    }
}

fn password(url: &RepoUrl) -> Option<&str> {
    url.userinfo().map(|info| info.password.expose()).filter(|password| !password.is_empty())
}
