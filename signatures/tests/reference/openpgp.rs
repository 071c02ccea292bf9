//! OpenPGP signatures.

use workflow_contract::verify::Signers;
use workflow_signatures::{ObjectFormat, SignedKind, TrustedKeys};

use crate::openpgp_keys::Home;
use crate::world::{World, denied, now, same, signed_commit, ssh_signers, stricter, trusted};

const USER: &str = "Alice <alice@example.com>";

/// A repository, and a key ring with secret keys.
struct Ring {
    home: Home,
    world: World,
}

impl Ring {
    fn new() -> Self {
        let world = World::new();
        Self { home: Home::new(&world.path("gnupg")), world }
    }

    fn signers(&self, key: &str) -> Signers {
        Signers { openpgp_keys: self.home.export(key), ..ssh_signers("") }
    }

    /// A commit that git has signed by a key.
    fn commit(&self, key: &str) -> Vec<u8> {
        self.world.commit(&[&format!("user.signingkey={key}")])
    }

    /// A commit signed by gpg with these options.
    fn signed_with(&self, key: &str, options: &[&str]) -> Vec<u8> {
        let unsigned = self.world.commit(&[]);
        signed_commit(&unsigned, "gpgsig", &self.home.sign(key, options, &unsigned))
    }
}

#[test]
fn trusts_keys_of_every_algorithm_and_names_the_user() {
    let ring = Ring::new();
    for algorithm in ["ed25519", "rsa2048", "rsa4096", "nistp256", "nistp384", "nistp521"] {
        let user = format!("{algorithm} <{algorithm}@example.com>");
        let key = ring.home.key(&user, algorithm, "sign", "never", None);
        let signers = ring.signers(&key);
        let options = [format!("user.signingkey={key}")];
        let options = options.each_ref().map(String::as_str);
        let tag = (SignedKind::Tag, ring.world.tag(&options));
        for (kind, object) in [(SignedKind::Commit, ring.world.commit(&options)), tag] {
            let signer = same(&ring.world, kind, &object, &signers).unwrap().to_string();
            assert_eq!(signer, format!("{user} (OpenPGP key {key})"));
        }
    }
}

#[test]
fn trusts_signing_subkeys_and_any_of_several_keys() {
    let ring = Ring::new();
    let key = ring.home.key(USER, "ed25519", "cert", "never", None);
    ring.home.add_subkey(&key, "ed25519", "never", None);
    let other = ring.home.key("Bob <bob@example.com>", "ed25519", "sign", "never", None);
    let subkey = ring.home.fingerprints(&key).remove(1);
    let mut signers = ring.signers(&key);
    let verdict = same(&ring.world, SignedKind::Commit, &ring.commit(&key), &signers).unwrap();
    assert_eq!((verdict.name.as_str(), verdict.key.fingerprint), (USER, subkey));
    let message = denied(&ring.world, &ring.commit(&other), &signers);
    assert_eq!(message, format!("is signed by the unknown OpenPGP key {other}"));
    signers.openpgp_keys = [signers.openpgp_keys, ring.home.export(&other)].join("\nthe key of Bob:\n");
    trusted(&ring.world, &ring.commit(&other), &signers);
    trusted(&ring.world, &ring.commit(&key), &signers);
}

#[test]
fn repositories_of_sha256_are_signed_by_gpg_too() {
    let world = World::of_format(ObjectFormat::Sha256);
    let ring = Ring { home: Home::new(&world.path("gnupg")), world };
    let key = ring.home.key(USER, "ed25519", "sign", "never", None);
    trusted(&ring.world, &ring.commit(&key), &ring.signers(&key));
}

#[test]
fn denies_changed_objects_and_signatures_and_more_than_one() {
    let ring = Ring::new();
    let key = ring.home.key(USER, "ed25519", "sign", "never", None);
    let signers = ring.signers(&key);
    let text = String::from_utf8(ring.commit(&key)).unwrap();
    let message = denied(&ring.world, text.replace("message", "massage").as_bytes(), &signers);
    assert_eq!(
        message,
        format!("has a bad signature: it does not match the content and the OpenPGP key {key}")
    );
    let at = text.find("\n -----END").unwrap() - 12;
    let mut bytes = text.into_bytes();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    denied(&ring.world, &bytes, &signers);
    let unsigned = ring.world.commit(&[]);
    let signature = ring.home.sign(&key, &[], &unsigned);
    let twice = signed_commit(&unsigned, "gpgsig", &format!("{signature}{signature}"));
    assert!(denied(&ring.world, &twice, &signers).contains("more than one signature"));
    let bob = ring.home.key("Bob <bob@example.com>", "ed25519", "sign", "never", None);
    let by_both = ring.signed_with(&key, &["--local-user", &bob]);
    assert!(denied(&ring.world, &by_both, &signers).contains("more than one signature"));
}

#[test]
fn denies_keys_that_are_expired_now() {
    let ring = Ring::new();
    let then = "20200101T000000";
    let key = ring.home.key(USER, "ed25519", "sign", "1y", Some(then));
    let commit = ring.signed_with(&key, &["--faked-system-time=20200601T000000!"]);
    let signers = ring.signers(&key);
    let message = denied(&ring.world, &commit, &signers);
    assert!(message.contains(&format!("of {USER}, which expired on 2020-12-31T")), "{message}");
    let warnings = TrustedKeys::parse(&signers).unwrap().warnings(now());
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with(&format!("the OpenPGP key {key} of {USER} expired on 2020-12-31T")),
        "{warnings:?}"
    );
    // A subkey of a key that has not expired.
    let key = ring.home.key("Bob <bob@example.com>", "ed25519", "cert", "never", Some(then));
    ring.home.add_subkey(&key, "ed25519", "1y", Some(then));
    let commit = ring.signed_with(&key, &["--faked-system-time=20200601T000000!"]);
    assert!(denied(&ring.world, &commit, &ring.signers(&key)).contains("which expired on 2020-12-31T"));
}

#[test]
fn trusts_an_extended_key_and_denies_an_expired_signature() {
    let ring = Ring::new();
    let key = ring.home.key(USER, "ed25519", "sign", "1y", Some("20200101T000000"));
    let commit = ring.signed_with(&key, &["--faked-system-time=20200601T000000!"]);
    crate::world::run(ring.home.gpg().args(["--quick-set-expire", &key, "0"]), b"");
    let signers = ring.signers(&key);
    trusted(&ring.world, &commit, &signers);
    assert_eq!(TrustedKeys::parse(&signers).unwrap().warnings(now()), [""; 0]);
    let options = ["--faked-system-time=20200601T000000!", "--default-sig-expire", "1d"];
    assert!(denied(&ring.world, &ring.signed_with(&key, &options), &signers).contains("it has expired"));
}

#[test]
fn denies_revoked_keys_and_subkeys() {
    let ring = Ring::new();
    let key = ring.home.key(USER, "ed25519", "sign", "never", None);
    let commit = ring.commit(&key);
    ring.home.revoke(&key);
    assert!(denied(&ring.world, &commit, &ring.signers(&key)).ends_with("which is revoked"));
    let key = ring.home.key("Bob <bob@example.com>", "ed25519", "cert", "never", None);
    ring.home.add_subkey(&key, "ed25519", "never", None);
    let commit = ring.commit(&key);
    ring.home.revoke_subkey(&key);
    ring.home.add_subkey(&key, "ed25519", "never", None);
    let signers = ring.signers(&key);
    assert!(denied(&ring.world, &commit, &signers).ends_with("which is revoked"));
    trusted(&ring.world, &ring.commit(&key), &signers);
}

#[test]
fn does_not_accept_sha1() {
    let ring = Ring::new();
    let key = ring.home.key(USER, "rsa2048", "sign", "never", None);
    let commit = ring.signed_with(&key, &["--digest-algo", "SHA1"]);
    let error = stricter(&ring.world, SignedKind::Commit, &commit, &ring.signers(&key));
    assert!(error.to_string().contains("collisions"), "{error}");
}

#[test]
fn rejects_lists_without_a_key_that_can_sign() {
    let ring = Ring::new();
    let parse = |keys: &str| {
        let signers = Signers { openpgp_keys: keys.to_owned(), ..ssh_signers("") };
        TrustedKeys::parse(&signers).map(|_| ()).unwrap_err().to_string()
    };
    let key = ring.home.key(USER, "rsa2048", "cert", "never", None);
    assert_eq!(parse(&ring.home.export(&key)), format!("openpgpKeys: the key {key} ({USER}) cannot sign"));
    let secret = crate::world::run(ring.home.gpg().args(["--armor", "--export-secret-keys", &key]), b"");
    assert!(parse(&String::from_utf8(secret).unwrap()).contains("only public keys"));
    assert!(parse("no key").contains("holds no key"));
    let armored = ring.home.export(&key);
    assert!(parse(&armored[..armored.len() / 2]).starts_with("openpgpKeys: "));
    assert_eq!(parse(""), "there are neither sshSigners nor openpgpKeys");
}
