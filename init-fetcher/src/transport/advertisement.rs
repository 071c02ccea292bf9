//! The first thing that a server says: what it can do, and in protocol v0 what it has.

use std::io::Read;

use super::capabilities::Capabilities;
use super::pktline::{Line, Lines};
use super::{Ref, TransportError, v0, v2};

/// Reads it, whatever the protocol, and refuses a repository whose objects are named by another hash.
///
/// # Errors
/// Any [`TransportError`] of reading; `host` is whom they are about.
pub fn read<R: Read>(lines: Lines<R>, host: &str) -> Result<(Capabilities, Vec<Ref>), TransportError> {
    let (capabilities, listed) = of_lines(lines).map_err(|error| not_there(host.to_owned(), error))?;
    if capabilities.is_sha1() {
        return Ok((capabilities, listed));
    }
    let why = "it names objects by another hash than SHA-1, which is not supported".into();
    Err(TransportError::NotGit { host: host.to_owned(), why })
}

fn of_lines<R: Read>(mut lines: Lines<R>) -> Result<(Capabilities, Vec<Ref>), TransportError> {
    const DOING: &str = "in the list of refs";
    let mut first = owned(&lines.next(DOING)?);
    if first.as_deref().is_some_and(|line| line.starts_with(b"# service=")) {
        // The service line is followed by a flush, then comes what a server without it sends at once.
        first = owned(&lines.next(DOING)?);
        if first.is_none() {
            first = owned(&lines.next(DOING)?);
        }
    }
    let Some(first) = first else {
        return Err(TransportError::Protocol("its first line is empty".into()));
    };
    match first.as_slice() {
        b"version 2" => {
            let capabilities = v2::read_capabilities(&mut lines)?;
            lines.drain();
            Ok((capabilities, Vec::new()))
        }
        b"version 1" => {
            let first = owned(&lines.next(DOING)?).unwrap_or_default();
            v0::read_refs(&first, lines)
        }
        _ => v0::read_refs(&first, lines),
    }
}

/// What servers say, in lower case, where others answer 404.
pub const NO_SUCH: [&str; 5] = [
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
        TransportError::Refused(words) if NO_SUCH.iter().any(|w| words.to_lowercase().contains(w)) => {
            TransportError::NotFound { host, words: format!(": {words}") }
        }
        other => other,
    }
}

fn owned(line: &Line) -> Option<Vec<u8>> {
    line.text().map(<[u8]>::to_vec)
}
