//! The first answer of a server, and what an error in it says about the repository.

use std::io::Read;

use workflow_contract::text;

use super::TransportError;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::Lines;
use crate::protocol::{ProtocolError, Ref, advertisement};

/// Reads the advertisement and rejects repositories with an unsupported hash; `host` is for messages, `explain` is
/// the transport's own view of errors of reading.
pub fn read<R: Read>(
    lines: Lines<R>,
    host: &str,
    explain: fn(ProtocolError) -> TransportError,
) -> Result<(Capabilities, Vec<Ref>), TransportError> {
    let (capabilities, listed) =
        advertisement::read(lines).map_err(|error| not_there(host.to_owned(), explain(error)))?;
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

/// What servers say, in lower case, where others answer 404.
pub const NO_SUCH: [&str; 6] = [
    "cannot find repository",
    "not found",
    "does not exist",
    "not exported",
    "could not be found",
    "not appear to be a git repository",
];

/// A refusal before anything was asked for in particular is about the repository: some servers say in
/// words what others say by 404. Whatever else they say stays as it is.
pub fn not_there(host: String, error: TransportError) -> TransportError {
    match error {
        TransportError::Protocol(ProtocolError::Refused(words))
            if NO_SUCH.iter().any(|w| words.to_lowercase().contains(w)) =>
        {
            TransportError::NotFound { host, words: format!(": {words}") }
        }
        other => other,
    }
}
