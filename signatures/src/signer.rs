//! The signer of an object.

use std::fmt;

use workflow_contract::text;

use crate::error::KeyName;

/// The person or program that signed, and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Principal of an SSH key, or user id of an OpenPGP key; as the admin or the key has it.
    pub name: String,
    pub key: KeyName,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", text::sanitize(&self.name), self.key)
    }
}
