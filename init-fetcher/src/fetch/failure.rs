//! Failures with their exit codes and retries: one match each.

use std::path::PathBuf;

use workflow_contract::{Exit, RepoUrl, Source, text};

use super::resolve::RefNotFound;
use super::signed::{NotTrusted, VerificationError};
use crate::checkout::CheckoutError;
use crate::config::ConfigError;
use crate::pack::PackError;
use crate::protocol::ProtocolError;
use crate::retry::{MAX_ATTEMPTS, Retryable};
use crate::transport::TransportError;
use crate::transport::http::trust::TrustError;
use crate::tree::TreeError;
use crate::tree::gitmodules::SubmoduleError;
use crate::tree::subdir::SubdirError;
use crate::volume::VolumeError;

/// A failure that another attempt may solve, without a request of the server to wait.
const PLAIN: Retryable = Retryable { max_attempts: MAX_ATTEMPTS, after: None };

/// A run that delivered nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchFailure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Connection, server or protocol.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A file of CA certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The branch, tag or commit.
    #[error(transparent)]
    Reference(#[from] RefNotFound),
    #[error(transparent)]
    Signature(Box<NotTrusted>),
    /// The directory in the repository.
    #[error(transparent)]
    Directory(#[from] SubdirError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The list of submodules.
    #[error(transparent)]
    Submodules(#[from] SubmoduleError),
    #[error("submodule `{path}`{}: {failure}", url.as_ref().map(|url| format!(" ({url})")).unwrap_or_default())]
    Submodule {
        failure: Box<FetchFailure>,
        /// Its path in its repository, fit for a message.
        path: String,
        /// Its URL without credentials, once it is known.
        url: Option<String>,
    },
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The published directory did not stay as it was.
    #[error("{} was changed by another program right after it was published", directory.display())]
    Disturbed { directory: PathBuf },
    /// A URL without a repository that has the form of a web page's address.
    #[error("{failure}; that is the address of a page; use {}", page.settings())]
    Page {
        failure: Box<FetchFailure>,
        /// The source that the page shows.
        page: Source,
    },
    /// Anything that should not be able to happen.
    #[error("an internal error, please report it: {0}")]
    Internal(String),
}

impl From<CheckoutError> for FetchFailure {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Tree(error) => Self::Tree(error),
            CheckoutError::Volume(error) => Self::Volume(error),
            CheckoutError::Pack(error) => Self::Pack(error),
            CheckoutError::Index(error) => Self::Internal(error.message().to_owned()),
        }
    }
}

impl From<VerificationError> for FetchFailure {
    fn from(error: VerificationError) -> Self {
        match error {
            VerificationError::NotTrusted(error) => Self::Signature(error),
            VerificationError::Pack(error) => Self::Pack(error),
        }
    }
}

impl From<git2::Error> for FetchFailure {
    fn from(error: git2::Error) -> Self {
        Self::Internal(error.message().to_owned())
    }
}

impl FetchFailure {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(ConfigError::NotAllowed(_) | ConfigError::UnsupportedScheme(_)) => {
                Exit::HostNotAllowed
            }
            Self::Internal(_) | Self::Trust(TrustError::Library(_) | TrustError::Roots(_)) => {
                Exit::InternalError
            }
            Self::Config(_) | Self::Trust(_) => Exit::InvalidSource,
            Self::Transport(error) => of_transport(error),
            Self::Pack(error) => of_pack(error),
            Self::Reference(_) => Exit::RefNotFound,
            Self::Signature(_) => Exit::SignatureNotTrusted,
            Self::Directory(SubdirError::Tree(error)) | Self::Tree(error) => of_tree(error),
            Self::Directory(_) => Exit::PathNotFound,
            Self::Volume(error) => of_volume(error),
            Self::Disturbed { .. } => Exit::VolumeNotWritable,
            Self::Submodules(error) => of_submodules(error),
            Self::Page { failure, .. } | Self::Submodule { failure, .. } => failure.exit(),
        }
    }

    /// Names the submodule that failed.
    #[must_use]
    pub fn of_submodule(self, path: &str, url: Option<&RepoUrl>) -> Self {
        Self::Submodule {
            failure: Box::new(self),
            path: text::sanitize(path),
            url: url.map(ToString::to_string),
        }
    }

    /// Adds the source that the page shows to a failure that may mean a missing repository.
    #[must_use]
    pub fn of_page(self, page: Option<Source>) -> Self {
        match (self, page) {
            (
                failure @ Self::Transport(
                    TransportError::NotFound { .. }
                    | TransportError::NotGit { .. }
                    | TransportError::BadRedirect { .. }
                    | TransportError::Status { status: 400..=499, .. }
                    | TransportError::Unauthorized { .. },
                ),
                Some(page),
            ) => Self::Page { failure: Box::new(failure), page },
            (failure, _) => failure,
        }
    }

    /// Returns how to retry; `None` if another attempt cannot help.
    pub fn retryable(&self) -> Option<Retryable> {
        match self {
            Self::Transport(error) => error.retryable(),
            Self::Pack(error) => error.is_transient().then_some(PLAIN),
            Self::Disturbed { .. } => Some(PLAIN),
            Self::Submodule { failure, .. } => failure.retryable(),
            // The pack was valid but did not contain the requested object.
            Self::Directory(SubdirError::Tree(error)) | Self::Tree(error) => match error {
                TreeError::Missing { .. } => Some(PLAIN),
                TreeError::Unreadable(error) => error.is_transient().then_some(PLAIN),
                _ => None,
            },
            _ => None,
        }
    }
}

fn of_submodules(error: &SubmoduleError) -> Exit {
    match error {
        SubmoduleError::Malformed(_) | SubmoduleError::NoUrl => Exit::InvalidSource,
        SubmoduleError::Nested { .. } => Exit::UnsafeContent,
        SubmoduleError::NeverUpdated => Exit::PathNotFound,
        SubmoduleError::TooLarge => Exit::TooLarge,
    }
}

fn of_transport(error: &TransportError) -> Exit {
    match error {
        TransportError::RedirectNotAllowed { .. } | TransportError::RedirectToScheme { .. } => {
            Exit::HostNotAllowed
        }
        TransportError::ProxySetting(_) => Exit::InvalidSource,
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
        | TransportError::NoCommonAlgorithm { .. }
        | TransportError::NotTls { .. }
        | TransportError::Status { .. }
        | TransportError::NotGit { .. } => Exit::ServerError,
        TransportError::Protocol(error) => of_protocol(error),
        TransportError::Pack(error) => of_pack(error),
    }
}

fn of_protocol(error: &ProtocolError) -> Exit {
    match error {
        ProtocolError::Read { .. } => Exit::ServerUnreachable,
        ProtocolError::Malformed(_) | ProtocolError::Truncated(_) | ProtocolError::Server(_) => {
            Exit::ServerError
        }
        ProtocolError::Excessive { .. } => Exit::TooLarge,
        ProtocolError::Pack(error) => of_pack(error),
    }
}

fn of_pack(error: &PackError) -> Exit {
    match error {
        PackError::Truncated | PackError::Corrupt(_) | PackError::Collision(_) => Exit::ServerError,
        PackError::TooLarge { .. } | PackError::Excessive { .. } => Exit::TooLarge,
        PackError::Volume(error) => of_volume(error),
    }
}

fn of_tree(error: &TreeError) -> Exit {
    match error {
        TreeError::Unsafe { .. } => Exit::UnsafeContent,
        TreeError::TooLarge { .. } | TreeError::TooDeep { .. } => Exit::TooLarge,
        TreeError::Malformed { .. } | TreeError::Missing { .. } => Exit::ServerError,
        TreeError::Unreadable(error) => of_pack(error),
    }
}

fn of_volume(error: &VolumeError) -> Exit {
    match error {
        VolumeError::Full { .. } => Exit::VolumeFull,
        VolumeError::NotWritable { .. } => Exit::VolumeNotWritable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;

    #[test]
    fn collision_is_a_server_error_that_is_not_retried() {
        let failure = FetchFailure::from(PackError::Collision(oid::zero(oid::ObjectFormat::Sha1)));
        assert_eq!((failure.exit(), failure.retryable()), (Exit::ServerError, None));
        assert!(failure.to_string().contains("SHA-1 collision"), "{failure}");
    }
}
