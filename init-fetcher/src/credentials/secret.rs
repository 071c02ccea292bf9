//! The keys of the mounted Secret that are for HTTP; those for ssh are in [`super::ssh`], `ca.crt` is read with the
//! other CA certificates.

use std::fs;
use std::io;
use std::path::Path;

use workflow_contract::policy::parse_exact_hosts;
use workflow_contract::{RepoUrl, Scheme, Secret};

use super::credential::Credential;

/// Reads a key of the Secret; one that cannot be read is logged and treated as missing.
pub fn key(dir: &Path, name: &str) -> Option<String> {
    match fs::read_to_string(dir.join(name)) {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(key = name, %error, "failed to read a key of the credentials Secret");
            None
        }
    }
}

/// A client certificate with its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: String,
    pub key: Secret,
}

/// The keys for HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountedSecret {
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub bearer: Option<Secret>,
    pub client: Option<ClientCertificate>,
    pub hosts: Option<String>,
}

impl MountedSecret {
    /// Reads the keys that exist; without a directory there are none.
    pub fn read(dir: Option<&Path>) -> Self {
        let Some(dir) = dir else { return Self::default() };
        let key = |name| key(dir, name).filter(|value| !value.trim().is_empty());
        let secret = |name| key(name).map(|value| Secret::trimmed(&value));
        let client = |certificate| Some(ClientCertificate { certificate, key: secret("tls.key")? });
        Self {
            username: secret("username"),
            password: secret("password"),
            bearer: secret("bearerToken"),
            client: key("tls.crt").and_then(client),
            hosts: key("hosts"),
        }
    }

    /// Reports whether the key `hosts` lists this host.
    ///
    /// # Errors
    /// The reason, for messages, why the credentials of the Secret are not used at all.
    pub fn is_for(&self, host: &str) -> Result<bool, &'static str> {
        if self.password.is_none() && self.bearer.is_none() && self.client.is_none() {
            return Ok(false);
        }
        let Some(hosts) = &self.hosts else {
            return Err("the credentials of the Secret are not used: it has no key `hosts`");
        };
        let hosts = parse_exact_hosts(hosts).map_err(|_| {
            "the credentials of the Secret are not used: its key `hosts` is not a comma-separated list of exact hosts"
        })?;
        Ok(hosts.iter().any(|named| named == host))
    }

    /// Returns the client certificate if it is for this URL.
    pub fn client_certificate(&self, url: &RepoUrl) -> Option<&ClientCertificate> {
        let applies = url.scheme() == Scheme::Https && self.is_for(url.host()) == Ok(true);
        self.client.as_ref().filter(|_| applies)
    }

    /// Returns the credentials of the Secret in the order in which they are tried. A user name in the URL takes
    /// precedence over the Secret's.
    pub fn credentials(&self, url: &RepoUrl) -> Vec<Credential> {
        let of_url = url.userinfo().map(|info| info.username.clone()).filter(|name| !name.is_empty());
        let username = of_url.or_else(|| self.username.clone());
        let basic = username.zip(self.password.clone()).map(|(username, password)| {
            Credential::basic("the Secret's user name and password", username, password)
        });
        let bearer = self.bearer.clone().map(|token| Credential::bearer("the Secret's bearer token", token));
        basic.into_iter().chain(bearer).collect()
    }
}
