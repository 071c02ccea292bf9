//! The first response of a server, and the meaning of an error line in it.

use std::io::Read;

use workflow_contract::text;

use super::TransportError;
use super::words::{self, Meaning};
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::Lines;
use crate::protocol::{ProtocolError, Ref, advertisement};

/// Reads the advertisement and rejects repositories with an unsupported hash; `host` is for messages, `explain` converts
/// errors of reading as the transport does.
pub fn read<R: Read>(
    lines: Lines<R>,
    host: &str,
    explain: fn(ProtocolError) -> TransportError,
) -> Result<(Capabilities, Vec<Ref>), TransportError> {
    let (capabilities, listed) = advertisement::read(lines).map_err(explain)?;
    let not_git = |why| Err(TransportError::NotGit { host: host.to_owned(), why });
    match capabilities.object_format() {
        Err(other) => {
            not_git(format!("it names objects by the hash {}, which is not supported", text::sanitize(other)))
        }
        Ok(format) if listed.iter().any(|one| one.oid.object_format() != format) => {
            not_git(format!("it lists ids of another hash than {}, which it advertises", format.str()))
        }
        Ok(_) => Ok((capabilities, listed)),
    }
}

/// Converts an error line that came before anything in particular was requested, so that it is about the repository: some
/// servers say in words what others say by 404 or 403. `tried` describes the credentials that were sent.
pub fn classify(host: &str, error: TransportError, tried: &dyn Fn() -> String) -> TransportError {
    let TransportError::Protocol(ProtocolError::Server(words)) = &error else { return error };
    let host = host.to_owned();
    match words::meaning(words) {
        Some(Meaning::Missing) => TransportError::NotFound { host, words: format!(": {words}") },
        Some(Meaning::Denied) => {
            TransportError::Unauthorized { host, tried: format!("it says: {words}{}", tried()) }
        }
        None => error,
    }
}
