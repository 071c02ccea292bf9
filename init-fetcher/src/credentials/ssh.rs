//! The keys of the mounted Secret that are for ssh.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use workflow_contract::Secret;

use super::secret;

/// A private key, and the servers that it may be used with.
#[derive(Debug, Clone, Default)]
pub struct SshKey {
    /// The private key, PEM or OpenSSH; its lines end as on this system.
    pub private: Option<Secret>,
    /// Lines of `known_hosts`, if the Secret has that key.
    pub known_hosts: Option<String>,
}

impl SshKey {
    /// Reads the keys `ssh-privatekey` and `known_hosts` of a mounted Secret, if there is one.
    pub fn read(dir: Option<&Path>) -> Self {
        let key = |name| secret::key(dir?, name);
        let private =
            |text: String| Secret::trimmed(&text.trim_start_matches('\u{feff}').replace("\r\n", "\n"));
        Self {
            private: key("ssh-privatekey").map(private).filter(|private| !private.is_empty()),
            known_hosts: key("known_hosts"),
        }
    }
}

/// Returns the reason, as the end of a message, why a private key cannot be used; `None` if none is found. Pure.
pub fn unusable(private: &Secret) -> Option<&'static str> {
    let text = private.expose();
    if is_encrypted(text) {
        Some("which is protected by a passphrase; store it without one (ssh-keygen -p)")
    } else if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        Some("which is a public key; store the private one")
    } else if !text.starts_with("-----BEGIN ") {
        Some("which is not a private key in PEM or OpenSSH form")
    } else {
        None
    }
}

/// Reports whether a key needs a passphrase, in any of the file formats.
fn is_encrypted(text: &str) -> bool {
    // The magic, then the cipher's name with its length before it.
    const MAGIC: &[u8] = b"openssh-key-v1\0";
    const PLAIN: &[u8] = b"openssh-key-v1\0\0\0\0\x04none";
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return true;
    }
    let Some(body) = text.strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----") else { return false };
    let body: String = body.split("-----END").next().unwrap_or_default().split_whitespace().collect();
    BASE64_STANDARD.decode(body).is_ok_and(|key| key.starts_with(MAGIC) && !key.starts_with(PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &str) -> String {
        let mut key = b"openssh-key-v1\0\0\0\0".to_vec();
        key.push(u8::try_from(cipher.len()).unwrap());
        key.extend(cipher.bytes());
        key.extend([7; 40]);
        let body = BASE64_STANDARD.encode(key);
        let (first, second) = body.split_at(40);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{first}\n{second}\n-----END OPENSSH PRIVATE KEY-----")
    }

    #[test]
    fn a_passphrase_is_seen_in_every_form() {
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END",
            &openssh("aes256-ctr"),
        ] {
            assert!(unusable(&Secret::new(text)).unwrap().contains("passphrase"), "{text}");
        }
    }

    #[test]
    fn leaves_possible_keys_to_the_library() {
        for text in [
            &*openssh("none"),
            "-----BEGIN PRIVATE KEY-----\nAAAA",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense!",
        ] {
            assert_eq!(unusable(&Secret::new(text)), None, "{text}");
        }
    }

    #[test]
    fn names_the_file_that_is_not_a_private_key() {
        assert!(unusable(&Secret::new("ssh-ed25519 AAAA me")).unwrap().contains("public"));
        assert!(unusable(&Secret::new("s3cret")).unwrap().contains("not a private key"));
    }
}
