//! Messages by which servers say that a repository is missing or access denied. Pure.
//!
//! Over ssh, and in error lines of the protocol, there is no status code: the words decide. [`tests`] lists the messages
//! of forges with their sources.

/// The meaning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// As 404: there is no such repository, or it is hidden.
    Missing,
    /// As 403.
    Denied,
}

use Meaning::{Denied, Missing};

/// Parts of messages in lower case; the first one that a message contains decides.
const PARTS: [(&str, Meaning); 29] = [
    // About the user, although it continues with `could not be found`.
    ("the identity", Denied),
    ("could not find user", Denied),
    ("cannot find repository", Missing),
    ("repository not found", Missing),
    ("not found", Missing),
    ("could not be found", Missing),
    ("does not exist", Missing),
    ("no longer exists", Missing),
    ("not exported", Missing),
    ("no such repository", Missing),
    ("no such project", Missing),
    ("not appear to be a git repository", Missing),
    ("permission", Denied),
    ("denied", Denied),
    ("not allowed", Denied),
    ("not permitted", Denied),
    ("no longer allowed", Denied),
    ("not have access", Denied),
    ("not authorized", Denied),
    ("unauthorized", Denied),
    ("sufficient authorization", Denied),
    ("authentication failed", Denied),
    ("forbidden", Denied),
    ("suspended", Denied),
    ("blocked", Denied),
    ("been disabled", Denied),
    ("deactivated", Denied),
    ("expired", Denied),
    ("saml sso", Denied),
];

/// Finds the line of a message that says what is wrong. Forges frame it in lines of their own.
pub fn find(message: &str) -> Option<(Meaning, &str)> {
    let with = |part: &str| message.lines().find(|line| line.to_lowercase().contains(part));
    PARTS.iter().find_map(|(part, meaning)| Some((*meaning, with(part)?)))
}

pub fn meaning(message: &str) -> Option<Meaning> {
    find(message).map(|(meaning, _)| meaning)
}

#[cfg(test)]
mod tests;
