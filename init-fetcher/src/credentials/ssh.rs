//! What a mounted Secret holds for ssh.

use std::fs;
use std::io;
use std::path::Path;

use workflow_contract::Secret;

/// A key, and the servers that it may be shown to.
#[derive(Debug, Clone, Default)]
pub struct SshKey {
    /// The private key, PEM or OpenSSH.
    pub private: Option<Secret>,
    /// Lines of `known_hosts`.
    pub known_hosts: Option<String>,
}

impl SshKey {
    /// Reads the keys `ssh-privatekey` and `known_hosts` of a mounted Secret, if there is one.
    pub fn read(dir: Option<&Path>) -> Self {
        let key = |name: &str| match fs::read_to_string(dir?.join(name)) {
            Ok(value) => Some(value).filter(|value| !value.trim().is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(key = name, %error, "a key of the credentials Secret can't be read");
                None
            }
        };
        Self {
            private: key("ssh-privatekey").map(|value| Secret::new(&value)),
            known_hosts: key("known_hosts"),
        }
    }
}
