//! A credential of one HTTP request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use workflow_contract::Secret;

#[derive(Debug, Clone, PartialEq, Eq)]
enum CredentialKind {
    Basic { username: Secret, password: Secret },
    Bearer(Secret),
}

/// A credential with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// For messages, such as `GITHUB_TOKEN`.
    pub origin: &'static str,
    kind: CredentialKind,
}

impl Credential {
    pub fn basic(origin: &'static str, username: Secret, password: Secret) -> Self {
        Self { origin, kind: CredentialKind::Basic { username, password } }
    }

    pub fn bearer(origin: &'static str, token: Secret) -> Self {
        Self { origin, kind: CredentialKind::Bearer(token) }
    }

    /// Returns the value of the `Authorization` header.
    pub fn header(&self) -> Secret {
        match &self.kind {
            CredentialKind::Basic { username, password } => {
                let pair = format!("{}:{}", username.expose(), password.expose());
                Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            CredentialKind::Bearer(token) => Secret::new(&format!("Bearer {}", token.expose())),
        }
    }
}
