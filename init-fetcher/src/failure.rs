//! Every failure, its exit code, and whether another attempt may help: one match each.

use workflow_contract::Exit;

use crate::checkout::CheckoutError;
use crate::config::ConfigError;
use crate::resolve::RefNotFound;
use crate::retry::{MAX_ATTEMPTS, Retryable};
use crate::store::CommitError;
use crate::subdir::SubdirError;
use crate::transport::TransportError;
use crate::tree::TreeError;
use crate::volume::VolumeError;

/// Why nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The way to the server and back.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The branch, tag or commit.
    #[error(transparent)]
    Reference(#[from] RefNotFound),
    /// The directory in the repository.
    #[error(transparent)]
    Directory(#[from] SubdirError),
    /// The content.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Anything that should not be able to happen.
    #[error("an internal error, please report it: {0}")]
    Internal(String),
}

impl From<CheckoutError> for Failure {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Tree(error) => Self::Tree(error),
            CheckoutError::Volume(error) => Self::Volume(error),
            CheckoutError::Store(error) => Self::Transport(error),
            CheckoutError::Index(error) => Self::Internal(error.message().to_owned()),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Reference(error) => Self::Reference(error),
            CommitError::Unreadable(error) => Self::Transport(error),
        }
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Internal(error.message().to_owned())
    }
}

impl Failure {
    /// The exit code that it ends in.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(ConfigError::NotAllowed(_) | ConfigError::UnsupportedScheme(_)) => {
                Exit::HostNotAllowed
            }
            Self::Config(_) => Exit::InvalidSource,
            Self::Transport(error) => of_transport(error),
            Self::Reference(_) => Exit::RefNotFound,
            Self::Directory(SubdirError::Tree(error)) | Self::Tree(error) => of_tree(error),
            Self::Directory(_) => Exit::PathNotFound,
            Self::Volume(error) => of_volume(error),
            Self::Internal(_) => Exit::InternalError,
        }
    }

    /// Whether another attempt may help.
    pub fn retryable(&self) -> Option<Retryable> {
        match self {
            Self::Transport(error) => error.retryable(),
            // The pack was sound but did not hold what was asked for.
            Self::Directory(SubdirError::Tree(error)) | Self::Tree(error) => match error {
                TreeError::Missing { .. } => Some(Retryable { max_attempts: MAX_ATTEMPTS, after: None }),
                TreeError::Unreadable(error) => error.retryable(),
                _ => None,
            },
            _ => None,
        }
    }
}

fn of_transport(error: &TransportError) -> Exit {
    match error {
        TransportError::RedirectNotAllowed { .. } | TransportError::RedirectToScheme { .. } => {
            Exit::HostNotAllowed
        }
        TransportError::Unauthorized { .. } => Exit::AuthenticationFailed,
        TransportError::NotFound { .. } => Exit::RepositoryNotFound,
        TransportError::Unresolved { .. }
        | TransportError::Unreachable { .. }
        | TransportError::Proxy { .. }
        | TransportError::Broken { .. } => Exit::ServerUnreachable,
        TransportError::Tls { .. } => Exit::TlsFailed,
        TransportError::Platform { source, .. } => of_transport(source),
        TransportError::HostKey { .. } => Exit::HostKeyMismatch,
        TransportError::BadRedirect { .. }
        | TransportError::NotTls { .. }
        | TransportError::Status { .. }
        | TransportError::NotGit { .. }
        | TransportError::Protocol(_)
        | TransportError::Truncated(_)
        | TransportError::Corrupt(_)
        | TransportError::Refused(_) => Exit::ServerError,
        TransportError::TooLarge { .. } | TransportError::Excessive { .. } => Exit::TooLarge,
        TransportError::Volume(error) => of_volume(error),
    }
}

fn of_tree(error: &TreeError) -> Exit {
    match error {
        TreeError::Unsafe { .. } => Exit::UnsafeContent,
        TreeError::TooLarge { .. } | TreeError::TooDeep { .. } => Exit::TooLarge,
        TreeError::Malformed { .. } | TreeError::Missing { .. } => Exit::ServerError,
        TreeError::Unreadable(error) => of_transport(error),
    }
}

fn of_volume(error: &VolumeError) -> Exit {
    match error {
        VolumeError::Full { .. } => Exit::VolumeFull,
        VolumeError::NotWritable { .. } => Exit::VolumeNotWritable,
    }
}
