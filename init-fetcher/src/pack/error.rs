//! Errors of receiving and reading packs.

use crate::volume::VolumeError;

/// A pack that is broken, too large or cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("the server's response ended early, in the pack; check the server and the proxies on the way")]
    Truncated,
    /// The pack contradicts itself.
    #[error("the server sent a corrupt pack: {0}; have the repository checked there (git fsck)")]
    Corrupt(String),
    /// More than a configured limit.
    #[error(
        "the server sent more than {limit} {unit}; deliver a smaller directory (path), or raise {setting}"
    )]
    TooLarge { limit: u64, unit: &'static str, setting: &'static str },
    /// More than any repository needs; no setting allows it.
    #[error(
        "the server sent more than {limit} {unit}, more than any repository needs; it cannot be delivered"
    )]
    Excessive { limit: u64, unit: &'static str },
    #[error(
        "object {0} is part of a SHA-1 collision, which does not happen by accident: it may be an attempt to \
         replace content; contact the owners of the repository"
    )]
    Collision(git2::Oid),
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl PackError {
    /// Reports whether another attempt may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Truncated | Self::Corrupt(_))
    }
}
