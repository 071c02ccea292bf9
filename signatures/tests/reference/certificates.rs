//! Certificates of SSH keys, with the option `cert-authority`.

use std::path::{Path, PathBuf};

use crate::world::{World, by_ssh, denied, program, public, run, ssh_signers, trusted};

/// A CA and a key pair.
struct Keys {
    world: World,
    ca: PathBuf,
    key: PathBuf,
}

impl Keys {
    fn new() -> Self {
        Self::of_kind("ed25519", "")
    }

    fn of_kind(kind: &str, bits: &str) -> Self {
        let world = World::new();
        let (ca, key) = (world.ssh_key("ca", kind, bits), world.ssh_key("key", kind, bits));
        Self { world, ca, key }
    }

    /// Certifies the key with these options and signs a commit with it.
    fn commit(&self, options: &[&str]) -> Vec<u8> {
        let mut keygen = program("ssh-keygen");
        keygen
            .args(["-q", "-I", "id"])
            .args(options)
            .arg("-s")
            .arg(&self.ca)
            .arg(self.key.with_extension("pub"));
        run(&mut keygen, b"");
        let certificate = Path::new(&format!("{}-cert.pub", self.key.display())).to_owned();
        self.world.commit(&by_ssh(&certificate).each_ref().map(String::as_str))
    }

    fn authority(&self, principals: &str) -> String {
        format!("{principals} cert-authority {}", public(&self.ca))
    }
}

#[test]
fn trusts_certificates_for_a_listed_principal() {
    for (kind, bits) in [("ed25519", ""), ("ecdsa", "256"), ("ecdsa", "521"), ("rsa", "2048")] {
        let keys = Keys::of_kind(kind, bits);
        let commit = keys.commit(&["-n", "bob,alice@example.com"]);
        for (principals, name) in
            [("alice@example.com", "alice@example.com"), ("*@example.com", "alice@example.com"), ("*", "bob")]
        {
            let signers = ssh_signers(&keys.authority(principals));
            assert_eq!(trusted(&keys.world, &commit, &signers), name, "{kind}");
        }
    }
}

#[test]
fn denies_unusable_certificates() {
    let keys = Keys::new();
    let listed = ssh_signers(&keys.authority("alice"));
    for (options, why) in [
        (&["-n", "bob"][..], "has a certificate for none of the principals alice"),
        (&[], "has a certificate without principals"),
        (&["-h", "-n", "alice"], "has a certificate for hosts"),
        (&["-n", "alice", "-V", "20200101:20210101"], "had expired when it signed"),
        (&["-n", "alice", "-V", "20300101:20310101"], "was not valid yet when it signed"),
    ] {
        let message = denied(&keys.world, &keys.commit(options), &listed);
        assert!(
            message.starts_with("is signed by the ED25519-CERT key SHA256:") && message.contains(why),
            "{message}"
        );
    }
    let commit = keys.commit(&["-n", "alice", "-V", "20260101:20260201"]);
    trusted(&keys.world, &commit, &listed);
    // A plain line is not about certificates, and an authority of another name not about these.
    for list in [format!("alice {}", public(&keys.key)), format!("alice {}", public(&keys.ca)), {
        let other = keys.world.ssh_key("other", "ed25519", "");
        format!("alice cert-authority {}", public(&other))
    }] {
        let message = denied(&keys.world, &commit, &ssh_signers(&list));
        assert!(message.starts_with("is signed by the unknown ED25519-CERT key"), "{message}");
    }
}

#[test]
fn denies_certificates_of_revoked_keys_and_authorities() {
    let keys = Keys::new();
    let commit = keys.commit(&["-n", "alice"]);
    for revoked in [&keys.key, &keys.ca] {
        let mut signers = ssh_signers(&keys.authority("alice"));
        signers.ssh_revoked_keys = public(revoked);
        let message = denied(&keys.world, &commit, &signers);
        assert!(message.ends_with("is revoked (sshRevokedKeys)"), "{message}");
    }
}

#[test]
fn denies_a_forged_certificate() {
    let keys = Keys::new();
    let commit = keys.commit(&["-n", "alice"]);
    let signers = ssh_signers(&keys.authority("alice"));
    // The blob of the certificate follows the magic, a version and a length; its principal is changed.
    let text = String::from_utf8(commit).unwrap();
    let start = text.find("SIGNATURE-----\n ").unwrap() + "SIGNATURE-----\n ".len();
    let end = text.find("\n -----END").unwrap();
    let blob = crate::security_keys::decoded(&text[start..end]);
    let at = blob.windows(5).position(|window| window == b"alice").unwrap();
    let mut forged = blob.clone();
    forged[at] = b'A';
    let forged = format!("{}{}{}", &text[..start], crate::security_keys::encoded(&forged), &text[end..]);
    let signers_of_forged = ssh_signers(&keys.authority("*"));
    assert!(denied(&keys.world, forged.as_bytes(), &signers_of_forged).contains("not signed by its CA"));
    trusted(&keys.world, text.as_bytes(), &signers);
}
