//! Signatures of git commits and tags, verified with the keys of an admin.
//!
//! ```text
//!  object (signature, signed bytes) ──> ssh (sshsig, certificate, allowed_signers)
//!                                   └─> openpgp (keys)
//! ```
//!
//! git is the reference: `git verify-commit` and `git verify-tag` with the same keys. Everything is pure; cryptography is
//! that of `ssh-key` and `pgp`.

mod error;
mod object;
mod openpgp;
mod pattern;
mod signer;
mod ssh;

use workflow_contract::verify::Signers;

pub use error::{KeyName, SignatureError, SignersError};
pub use object::{ObjectFormat, SignedKind, SignedObject, header, split};
pub use signer::Signer;

use openpgp::OpenPgpKey;
use ssh::SshKeys;

/// Longest signature that is read, in bytes. RSA with 4096 bits has less than 1,000.
const MAX_SIGNATURE: usize = 64 << 10;

#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    ssh: SshKeys,
    openpgp: Vec<OpenPgpKey>,
}

impl TrustedKeys {
    /// Parses the lists of a rule.
    ///
    /// # Errors
    /// [`SignersError`] if a list cannot be used, or all are empty.
    pub fn parse(signers: &Signers) -> Result<Self, SignersError> {
        let given = |list: &str| !list.trim().is_empty();
        if !given(&signers.ssh_signers) && !given(&signers.openpgp_keys) {
            return Err(SignersError::NoSigners);
        }
        let allowed =
            if given(&signers.ssh_signers) { ssh::parse(&signers.ssh_signers)? } else { Vec::new() };
        let revoked = ssh::parse_revoked(&signers.ssh_revoked_keys)?;
        let openpgp =
            if given(&signers.openpgp_keys) { openpgp::parse(&signers.openpgp_keys)? } else { Vec::new() };
        Ok(Self { ssh: SshKeys { allowed, revoked }, openpgp })
    }

    /// Returns a remark for each key that no signature made now counts of; `now` in Unix seconds.
    #[must_use]
    pub fn warnings(&self, now: i64) -> Vec<String> {
        let ssh = self.ssh.allowed.iter().filter_map(|line| {
            let before = line.valid_before.filter(|before| *before < now)?;
            let (number, who) = (line.line, workflow_contract::text::sanitize(&line.principals));
            Some(format!("line {number} of sshSigners: the key of {who} expired on {}", ssh::date(before)))
        });
        ssh.chain(self.openpgp.iter().filter_map(|key| key.warning(now))).collect()
    }
}

/// Verifies the signature of a commit or tag object, given by its exact bytes; `now` in Unix seconds.
///
/// # Errors
/// [`SignatureError`] unless the object is signed by a trusted key.
pub fn verify(
    kind: SignedKind,
    object: &[u8],
    format: ObjectFormat,
    keys: &TrustedKeys,
    now: i64,
) -> Result<Signer, SignatureError> {
    let signed = split(kind, object, format).ok_or(SignatureError::Unsigned)?;
    // The signed bytes must themselves be an object of this kind: nothing else may decide what is delivered.
    let start = match kind {
        SignedKind::Commit => &b"tree "[..],
        SignedKind::Tag => &b"object "[..],
    };
    if !object.starts_with(start) || !signed.payload.starts_with(start) {
        return Err(SignatureError::Bad { why: "it signs something else than the object".to_owned() });
    }
    if signed.signature.len() > MAX_SIGNATURE {
        return Err(SignatureError::Bad { why: format!("it is longer than {MAX_SIGNATURE} bytes") });
    }
    let begins = |text: &str| signed.signature.starts_with(text.as_bytes());
    if begins(ssh::BEGIN) {
        ssh::verify(&signed, &keys.ssh)
    } else if begins(openpgp::BEGIN) {
        openpgp::verify(&signed, &keys.openpgp, now)
    } else if begins(openpgp::BEGIN_MESSAGE) {
        Err(SignatureError::Unsupported { what: "an OpenPGP message in place of a signature" })
    } else if begins("-----BEGIN SIGNED MESSAGE-----") {
        Err(SignatureError::Unsupported { what: "an X.509 signature (gitsign, smimesign)" })
    } else {
        Err(SignatureError::Unsupported { what: "a signature of an unknown kind" })
    }
}
