//! Conversion of errors of libssh2.

use ssh2::ErrorCode;
use workflow_contract::{RepoUrl, Scheme, text};

use crate::transport::TransportError;

// Error numbers of libssh2 (libssh2.h).
/// The server did not respond in time.
pub const TIMEOUT: i32 = -9;
/// The two sides have no algorithm in common.
pub const KEX_FAILURE: i32 = -5;
/// Sending, disconnected, receiving, bad socket.
pub const SOCKETS: [i32; 4] = [-7, -13, -43, -45];

/// Converts the error of a failed step.
pub fn failed(host: &str, error: &ssh2::Error) -> TransportError {
    let why = match error.code() {
        ErrorCode::Session(TIMEOUT) => "it stopped responding".into(),
        _ => format!("ssh failed ({})", text::sanitize(error.message())),
    };
    TransportError::Unreachable { host: host.to_owned(), why }
}

/// Returns the host for messages, with its port if it is not ssh's own.
pub fn host_of(url: &RepoUrl) -> String {
    let host = text::sanitize(url.host());
    if url.port() == Scheme::Ssh.default_port() { host } else { format!("{host}:{}", url.port()) }
}
