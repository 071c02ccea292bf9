//! SSH signatures, judged as git does with `gpg.ssh.allowedSignersFile`: `ssh-keygen -Y find-principals`, then
//! `-Y verify` for each principal, at the time of the commit or tag.

mod allowed_signers;
mod certificate;
mod sshsig;

use ssh_key::HashAlg;
use ssh_key::public::KeyData;

pub use allowed_signers::{AllowedSigner, date, parse, parse_revoked};
pub use sshsig::BEGIN;
use workflow_contract::text;

use crate::error::{KeyName, SignatureError};
use crate::object::SignedObject;
use crate::pattern::{list_matches, matches};
use crate::signer::Signer;
use certificate::Certificate;
use sshsig::MadeBy;

/// Namespace of git's signatures.
const NAMESPACE: &str = "git";

/// Keys that may sign, and keys that may not any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshKeys {
    pub allowed: Vec<AllowedSigner>,
    pub revoked: Vec<KeyData>,
}

/// Verifies an SSH signature.
pub fn verify(object: &SignedObject, keys: &SshKeys) -> Result<Signer, SignatureError> {
    let armored = String::from_utf8_lossy(&object.signature);
    let made = sshsig::verify(&armored, &object.payload)?;
    let key = name(&made);
    if made.namespace != NAMESPACE {
        let namespace = text::sanitize(&made.namespace);
        return Err(SignatureError::bad(format!(
            "it was made for the namespace `{namespace}`, not `{NAMESPACE}`"
        )));
    }
    let time =
        object.time.ok_or_else(|| SignatureError::bad("the object names no time at which it was signed"))?;
    let not_valid = |signer: &str, why: String| SignatureError::KeyNotValid {
        key: key.clone(),
        signer: text::sanitize(signer),
        why,
    };
    let listed: Vec<_> = keys.allowed.iter().filter(|line| line.lists(&made)).collect();
    let Some(first) = listed.first() else { return Err(SignatureError::UnknownKey { key }) };
    if let Some(why) = made.certificate.as_ref().and_then(|certificate| certificate.objection(time)) {
        return Err(not_valid(&first.principals, why.to_owned()));
    }
    let is_revoked = |key| keys.revoked.contains(key);
    if is_revoked(&made.key) || made.certificate.as_ref().is_some_and(|c| is_revoked(&c.authority)) {
        return Err(not_valid(&first.principals, "is revoked (sshRevokedKeys)".to_owned()));
    }
    // `find-principals` returns those of the first line that is valid at the time.
    let mut valid = listed.iter().filter(|line| line.objection(time).is_none()).peekable();
    if valid.peek().is_none() {
        return Err(not_valid(&first.principals, first.objection(time).unwrap_or_default()));
    }
    let principals =
        valid.map(|line| line.principals_of(made.certificate.as_ref())).find(|found| !found.is_empty());
    let Some(principals) = principals else {
        let names = text::sanitize(&first.principals);
        return Err(not_valid(
            &first.principals,
            format!("has a certificate for none of the principals {names}"),
        ));
    };
    // `verify` takes any line with the principal, the key, the namespace and the time.
    let allows = |principal: &str| {
        listed.iter().any(|line| {
            list_matches(&line.principals, principal)
                && line.allows(NAMESPACE)
                && line.objection(time).is_none()
        })
    };
    match principals.iter().find(|principal| allows(principal)) {
        Some(principal) => Ok(Signer { name: principal.clone(), key }),
        None if listed.iter().any(|line| line.allows(NAMESPACE)) => {
            Err(not_valid(&principals.join(","), "is listed, but not for them".to_owned()))
        }
        None => {
            Err(not_valid(&principals.join(","), format!("is not listed for the namespace `{NAMESPACE}`")))
        }
    }
}

impl AllowedSigner {
    /// Reports whether the line is about the key that made a signature.
    fn lists(&self, made: &MadeBy) -> bool {
        match &made.certificate {
            Some(certificate) => self.is_authority && self.key == certificate.authority,
            None => !self.is_authority && self.key == made.key,
        }
    }

    /// Returns the principals under which the line lists a key: as written, or those of the certificate that match.
    fn principals_of(&self, certificate: Option<&Certificate>) -> Vec<String> {
        let listed = self.principals.split(',');
        match certificate {
            None => listed.map(str::to_owned).collect(),
            Some(certificate) => listed
                .flat_map(|pattern| {
                    certificate.principals.iter().filter(move |principal| matches(pattern, principal))
                })
                .cloned()
                .collect(),
        }
    }
}

fn name(made: &MadeBy) -> KeyName {
    let kind = match &made.key {
        KeyData::Ed25519(_) => "ED25519",
        KeyData::Ecdsa(_) => "ECDSA",
        KeyData::Rsa(_) => "RSA",
        KeyData::SkEd25519(_) => "ED25519-SK",
        KeyData::SkEcdsaSha2NistP256(_) => "ECDSA-SK",
        _ => "SSH",
    };
    let certified = if made.certificate.is_some() { "-CERT" } else { "" };
    KeyName {
        kind: format!("{kind}{certified}"),
        fingerprint: made.key.fingerprint(HashAlg::Sha256).to_string(),
    }
}
