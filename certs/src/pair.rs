//! A certificate with its private key, as PEM: the one form in which both travel between Secret,
//! directory and memory.

use workflow_contract::Secret;

/// A certificate and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the certificate first, then what links it to its authority.
    pub certificate: String,
    /// PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: Secret,
}
