//! Trees as they come from the network: read strictly, judged before anything is written.
//!
//! Nothing here does I/O. [`object`] reads one tree, [`name`] judges one name, [`plan`] walks all of them into the
//! list of what will be written, [`symlink`] follows every link within that list, and [`resolve`] those that leave it.

pub mod gitmodules;
pub mod name;
pub mod object;
pub mod plan;
pub mod resolve;
pub mod subdir;
pub mod symlink;

use workflow_contract::text;

use crate::pack::PackError;

/// Reason for which a tree is not written to disk.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Content that must not be written.
    #[error("the repository contains {what} at `{path}`, which is not safe to write; remove it there")]
    Unsafe {
        what: &'static str,
        /// The path, sanitized.
        path: String,
    },
    /// More than a limit allows.
    #[error(
        "the workflow has more than {limit} {unit}; deliver a smaller directory (path), or raise {setting}"
    )]
    TooLarge {
        limit: u64,
        /// Of what.
        unit: &'static str,
        setting: &'static str,
    },
    /// Directories nested deeper than can be delivered.
    #[error("the directories at `{path}` are nested too deep to be written")]
    TooDeep {
        /// The path, sanitized.
        path: String,
    },
    /// A tree object that git could not have written.
    #[error("the server sent a tree object that is malformed: {oid}")]
    Malformed { oid: git2::Oid },
    /// An object that is needed was not sent, or is not of the kind that its tree says.
    #[error("the server did not send object {oid}, which is needed for `{path}`")]
    Missing {
        oid: git2::Oid,
        /// The path that needs it, sanitized.
        path: String,
    },
    /// An object is there but can't be had.
    #[error(transparent)]
    Unreadable(#[from] PackError),
}

/// A path within a repository, fit for a message.
pub(crate) fn shown(path: &[u8]) -> String {
    text::sanitize(&String::from_utf8_lossy(path))
}
