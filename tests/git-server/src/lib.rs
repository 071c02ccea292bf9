//! A real git server for tests: stock `git http-backend` behind lighttpd, over HTTPS with a CA
//! made for the occasion.
//!
//! Real, because what a fetcher meets in the field (protocol v2 and v0, filters, shallow negotiation, the server's own
//! words on failure) is easy to imitate wrongly. It needs the Debian packages `git`, `lighttpd`, `lighttpd-mod-openssl`
//! and `util-linux`, no cluster, and no network but its own address.
//!
//! ```no_run
//! # fn main() -> Result<(), workflow_git_server::GitServerError> {
//! use workflow_git_server::{GitServer, Settings};
//!
//! let server = GitServer::start(&Settings::default())?;
//! let repository = server
//!     .repository("acme/flow")
//!     .file("README.md", "# Flow\n")
//!     .branch("dev")
//!     .create()?;
//! assert!(repository.url().starts_with("https://127.0.0.1:"));
//! # Ok(()) }
//! ```
//!
//! A [`FaultProxy`] before it adds faults: connections that break or stall, wrong responses, bad certificates.
//! [`SshServer`] serves the same repositories over ssh. [`OtherServer`] is git server software that is not git's own.
//!
//! The server ends with the [`GitServer`] that started it, and with the process even when that is killed.
//! It must not read the user's git configuration, and must not need an entry in `/etc/hosts`.

mod address;
mod certificates;
mod error;
mod fault_proxy;
mod git;
mod import;
mod lighttpd;
mod other;
mod process;
mod profile;
mod repository;
mod server;
mod settings;
mod sshd;

pub use address::address_facing;
pub use error::GitServerError;
pub use fault_proxy::{Certificate, Fault, FaultPosition, FaultProxy, Phase, When};
pub use other::{AzureLike, OtherServer, Software, jdk_at_hand};
pub use profile::Profile;
pub use repository::{Repository, RepositoryBuilder};
pub use server::GitServer;
pub use settings::Settings;
pub use sshd::{SshServer, SshSoftware};
