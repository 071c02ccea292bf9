//! From a plan to the published directory.
//!
//! ```text
//!  write (files) + index + git_dir (`.git`)  ->  publish (one rename)
//! ```

pub mod git_dir;
pub mod index;
pub mod publish;
pub mod snapshot;
pub mod write;

use crate::pack::PackError;
use crate::tree::TreeError;
use crate::volume::VolumeError;

/// A plan that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// An object disappeared between planning and writing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// An object could not be read back or written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// git's index could not be made.
    #[error("failed to write git's index: {0}")]
    Index(#[from] git2::Error),
}
