//! Certificates of SSH keys (PROTOCOL.certkeys), decoded for what `ssh-keygen -Y verify` checks.
//!
//! `ssh_key::Certificate` rejects validity without end, which is ssh-keygen's default.

use signature::Verifier as _;
use ssh_encoding::{Decode, Encode, Reader};
use ssh_key::Signature;
use ssh_key::public::KeyData;

/// End of the name of a certificate's type.
const SUFFIX: &str = "-cert-v01@openssh.com";
/// Certificate type of users; the other one is for hosts.
const USER: u32 = 1;

/// A certificate whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certified key.
    pub key: KeyData,
    /// The key that signed the certificate.
    pub authority: KeyData,
    pub principals: Vec<String>,
    is_user: bool,
    valid_after: u64,
    valid_before: u64,
}

/// Reports whether a public key blob is a certificate.
pub fn is_certificate(mut blob: &[u8]) -> bool {
    String::decode(&mut blob).is_ok_and(|kind| kind.ends_with(SUFFIX))
}

impl Certificate {
    /// Decodes a certificate and verifies its signature; `None` if either fails.
    pub fn verified(blob: &[u8]) -> Option<Self> {
        let mut reader = blob;
        let kind = String::decode(&mut reader).ok()?;
        let plain = kind.strip_suffix(SUFFIX)?;
        // `sk-…` has the same domain in its plain form, and only there.
        let plain = if plain.starts_with("sk-") { format!("{plain}@openssh.com") } else { plain.to_owned() };
        let _nonce = Vec::<u8>::decode(&mut reader).ok()?;
        let mut key = Vec::new();
        plain.encode(&mut key).ok()?;
        for _ in 0..members(&plain)? {
            Vec::<u8>::decode(&mut reader).ok()?.encode(&mut key).ok()?;
        }
        let _serial = u64::decode(&mut reader).ok()?;
        let is_user = u32::decode(&mut reader).ok()? == USER;
        let _id = Vec::<u8>::decode(&mut reader).ok()?;
        let principals = Vec::<u8>::decode(&mut reader).ok()?;
        let (valid_after, valid_before) = (u64::decode(&mut reader).ok()?, u64::decode(&mut reader).ok()?);
        let _critical_options = Vec::<u8>::decode(&mut reader).ok()?;
        let _extensions = Vec::<u8>::decode(&mut reader).ok()?;
        let _reserved = Vec::<u8>::decode(&mut reader).ok()?;
        let authority = Vec::<u8>::decode(&mut reader).ok()?;
        let signed = &blob[..blob.len() - reader.remaining_len()];
        let signature = Vec::<u8>::decode(&mut reader).ok()?;
        let certificate = Self {
            key: key_data(&key)?,
            authority: key_data(&authority)?,
            principals: strings(&principals)?,
            is_user,
            valid_after,
            valid_before,
        };
        let signature = Signature::decode(&mut signature.as_slice()).ok()?;
        let good = reader.is_empty() && certificate.authority.verify(signed, &signature).is_ok();
        good.then_some(certificate)
    }

    /// Returns why the certificate does not count at this time, if so.
    pub fn objection(&self, time: i64) -> Option<&'static str> {
        let time = u64::try_from(time).unwrap_or(0);
        if !self.is_user {
            Some("has a certificate for hosts")
        } else if time < self.valid_after {
            Some("has a certificate that was not valid yet when it signed")
        } else if time >= self.valid_before {
            Some("has a certificate that had expired when it signed")
        } else if self.principals.is_empty() {
            Some("has a certificate without principals")
        } else {
            None
        }
    }
}

/// Decodes a public key, all of it.
pub fn key_data(mut blob: &[u8]) -> Option<KeyData> {
    let key = KeyData::decode(&mut blob).ok()?;
    blob.is_empty().then_some(key)
}

/// Number of strings and integers after the type in the blob of a public key.
fn members(kind: &str) -> Option<usize> {
    Some(match kind {
        "ssh-ed25519" => 1,
        "ssh-rsa"
        | "ecdsa-sha2-nistp256"
        | "ecdsa-sha2-nistp384"
        | "ecdsa-sha2-nistp521"
        | "sk-ssh-ed25519@openssh.com" => 2,
        "sk-ecdsa-sha2-nistp256@openssh.com" => 3,
        _ => return None,
    })
}

fn strings(mut list: &[u8]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    while !list.is_empty() {
        all.push(String::decode(&mut list).ok()?);
    }
    Some(all)
}
