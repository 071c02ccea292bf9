//! Credentials as they are mounted; their order and hosts are in [`crate::transport::http::authenticator`].

mod credential;
mod secret;
pub mod ssh;

pub use credential::Credential;
pub use secret::{ClientCertificate, MountedSecret};
