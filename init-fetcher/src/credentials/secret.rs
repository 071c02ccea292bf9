//! What a mounted Secret holds for HTTP. (`ca.crt` in it is a matter of trust, read there.)

use std::fs;
use std::io;
use std::path::Path;

use workflow_contract::Secret;
use workflow_contract::policy::parse_exact_hosts;

use super::basic::Basic;

/// The value of a key, where there is one. One that can't be read is logged, and is as good as none.
pub fn key(dir: &Path, name: &str) -> Option<String> {
    match fs::read_to_string(dir.join(name)) {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(key = name, %error, "a key of the credentials Secret can't be read");
            None
        }
    }
}

/// The keys that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountedSecret {
    pub(super) username: Option<Secret>,
    pub(super) password: Option<Secret>,
    pub(super) hosts: Option<String>,
}

impl MountedSecret {
    /// Reads the keys that exist.
    pub fn read(dir: &Path) -> Self {
        let key = |name| key(dir, name);
        Self {
            username: key("username").map(|value| Secret::trimmed(&value)),
            password: key("password").map(|value| Secret::trimmed(&value)),
            hosts: key("hosts"),
        }
    }

    /// The credential for a host, or why there is none although the Secret holds one.
    pub fn basic_for(&self, host: &str) -> Result<Option<Basic>, &'static str> {
        let (Some(username), Some(password)) = (&self.username, &self.password) else {
            return Ok(None);
        };
        let hosts = self.hosts.as_deref().map(parse_exact_hosts);
        match hosts {
            None => Err("user name and password of the Secret are not used: it has no key `hosts`"),
            Some(Err(_)) => {
                Err("user name and password of the Secret are not used: its key `hosts` is not a \
                                 comma-separated list of exact hosts")
            }
            Some(Ok(hosts)) if hosts.iter().any(|named| named == host) => Ok(Some(Basic {
                origin: "the Secret's user name and password",
                username: username.clone(),
                password: password.clone(),
            })),
            Some(Ok(_)) => Ok(None),
        }
    }
}
