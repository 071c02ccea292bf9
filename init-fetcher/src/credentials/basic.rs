//! A credential of HTTP basic authentication.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use workflow_contract::Secret;

/// A user name and a password for one request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basic {
    /// Where it comes from, fit for a message.
    pub origin: &'static str,
    pub(super) username: Secret,
    pub(super) password: Secret,
}

impl Basic {
    /// The value of the `Authorization` header.
    pub fn header(&self) -> Secret {
        let pair = format!("{}:{}", self.username.expose(), self.password.expose());
        Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
    }
}
