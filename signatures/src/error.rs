//! Reasons for which a signature is not trusted, and for which lists of keys are rejected.

/// A public key, as people compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// Such as `ED25519` or `OpenPGP`.
    pub kind: String,
    /// `SHA256:…` for SSH keys, otherwise the fingerprint in hexadecimal digits.
    pub fingerprint: String,
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} key {}", self.kind, self.fingerprint)
    }
}

/// Reasons to distrust an object. Each message completes "the commit …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("is not signed")]
    Unsigned,
    /// The signature is good; the key is not listed.
    #[error("is signed by the unknown {key}")]
    UnknownKey { key: KeyName },
    /// The signature is good and the key is listed, but not for this use.
    #[error("is signed by the {key} of {signer}, which {why}")]
    KeyNotValid { key: KeyName, signer: String, why: String },
    /// The signature is not one of these bytes by this key, or it is damaged.
    #[error("has a bad signature: {why}")]
    Bad { why: String },
    /// A kind of signature that is never verified.
    #[error("has {what}, which is not supported")]
    Unsupported { what: &'static str },
}

impl SignatureError {
    pub(crate) fn bad(why: impl Into<String>) -> Self {
        Self::Bad { why: why.into() }
    }
}

/// A list of keys that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignersError {
    #[error("line {line} of {list}: {why}")]
    Line { list: &'static str, line: usize, why: String },
    #[error("openpgpKeys: {why}")]
    OpenPgp { why: String },
    #[error("{list} holds no key that can verify a signature")]
    NoKey { list: &'static str },
    #[error("there are neither sshSigners nor openpgpKeys")]
    NoSigners,
}
