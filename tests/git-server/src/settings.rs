//! Settings of a server: its address and rules for directories.

use std::net::{IpAddr, Ipv4Addr};

use crate::error::GitServerError;

/// Settings of a [`GitServer`](crate::GitServer). The default serves HTTPS on 127.0.0.1.
///
/// A rule applies to every URL whose first path segment is the rule's directory.
#[derive(Clone)]
pub struct Settings {
    pub(crate) address: IpAddr,
    pub(crate) tls: bool,
    pub(crate) rules: Vec<(String, Rule)>,
}

/// A rule for one directory.
#[derive(Clone)]
pub(crate) enum Rule {
    /// HTTP basic authentication.
    Password { user: String, password: String },
    /// Requests for protocol v2 are ignored.
    ProtocolV0,
    /// Not git: always this response.
    Response { status: u16, headers: Vec<(String, String)>, body: String },
}

impl Default for Settings {
    fn default() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }
}

impl Settings {
    /// Serves HTTPS on `address`, on a free port.
    pub fn on(address: IpAddr) -> Self {
        Self { address, tls: true, rules: Vec::new() }
    }

    /// Serves http:// instead, for tests of its denial.
    #[must_use]
    pub fn plain_http(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Repositories below `/DIRECTORY/` demand this user and password (basic authentication; 401 without).
    #[must_use]
    pub fn password(self, directory: &str, user: &str, password: &str) -> Self {
        self.rule(directory, Rule::Password { user: user.to_owned(), password: password.to_owned() })
    }

    /// Repositories below `/DIRECTORY/` are served by protocol v0 only.
    #[must_use]
    pub fn protocol_v0(self, directory: &str) -> Self {
        self.rule(directory, Rule::ProtocolV0)
    }

    /// Everything below `/DIRECTORY/` gets this response: `(200, "text/html", …)` is a web site that is no git server.
    #[must_use]
    pub fn response(self, directory: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.rule(directory, Rule::Response { status, headers, body: body.to_owned() })
    }

    fn rule(mut self, directory: &str, rule: Rule) -> Self {
        self.rules.push((directory.to_owned(), rule));
        self
    }

    /// Rejects directories that would need quoting in lighttpd's configuration.
    pub(crate) fn check(&self) -> Result<(), GitServerError> {
        let is_plain = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        match self.rules.iter().find(|(directory, _)| !is_plain(directory)) {
            Some((directory, _)) => Err(GitServerError::DirectoryName { directory: directory.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_directories_that_would_need_quoting() {
        for directory in ["", "a b", "a\"", "a/b", "A"] {
            let settings = Settings::default().protocol_v0(directory);
            assert!(settings.check().is_err(), "{directory:?}");
        }
        assert!(Settings::default().protocol_v0("v0").check().is_ok());
    }
}
