//! Keys of hardware tokens (`sk-…`). There is no hardware in tests: the token's part, a signature over hashes of
//! application and message with flags and a counter (PROTOCOL.u2f), is made here by a key in software.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use signature::Signer as _;
use ssh_encoding::Encode as _;
use ssh_key::public::{KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, SshSig};
use workflow_signatures::{ObjectFormat, SignedKind};

use crate::world::{World, denied, same, signed_commit, ssh_signers, trusted};

const APPLICATION: &str = "ssh:";
const USER_PRESENT: u8 = 1;

pub fn decoded(base64: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.split_whitespace().collect::<String>()).unwrap()
}

pub fn encoded(blob: &[u8]) -> String {
    BASE64_STANDARD.encode(blob)
}

/// A token with its key pair.
struct Token {
    private: PrivateKey,
    public: KeyData,
}

impl Token {
    fn new(world: &World, kind: &str) -> Self {
        let path = world.ssh_key(kind, kind, if kind == "ecdsa" { "256" } else { "" });
        let private = PrivateKey::read_openssh_file(&path).unwrap();
        let public = match private.public_key().key_data() {
            KeyData::Ed25519(key) => KeyData::SkEd25519(SkEd25519::new(*key, APPLICATION)),
            KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(point)) => {
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(*point, APPLICATION))
            }
            other => panic!("{other:?}"),
        };
        Self { private, public }
    }

    fn line(&self) -> String {
        PublicKey::from(self.public.clone()).to_openssh().unwrap()
    }

    fn sign(&self, payload: &[u8]) -> String {
        let message = SshSig::signed_data("git", HashAlg::Sha512, payload).unwrap();
        let (flags, counter) = (USER_PRESENT, 7_u32.to_be_bytes());
        let trailer = [&[flags][..], &counter].concat();
        let signed = [&Sha256::digest(APPLICATION)[..], &trailer, &Sha256::digest(&message)].concat();
        let signature = self.private.key_data().try_sign(&signed).unwrap();
        let name = match signature.algorithm() {
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => "sk-ecdsa-sha2-nistp256@openssh.com",
            _ => "sk-ssh-ed25519@openssh.com",
        };
        let mut inner = Vec::new();
        name.encode(&mut inner).unwrap();
        signature.as_bytes().encode(&mut inner).unwrap();
        inner.extend(trailer);
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        self.public.encode_prefixed(&mut blob).unwrap();
        for part in [&b"git"[..], b"", b"sha512", &inner] {
            part.encode(&mut blob).unwrap();
        }
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", encoded(&blob))
    }
}

#[test]
fn trusts_keys_of_hardware_tokens() {
    let world = World::new();
    for (kind, shown) in [("ed25519", "ED25519-SK"), ("ecdsa", "ECDSA-SK")] {
        let token = Token::new(&world, kind);
        let unsigned = world.commit(&[]);
        let commit = signed_commit(&unsigned, "gpgsig", &token.sign(&unsigned));
        let signers = ssh_signers(&format!("a@example.com {}", token.line()));
        let signer = same(&world, SignedKind::Commit, &commit, &signers).unwrap().to_string();
        assert!(signer.starts_with(&format!("a@example.com ({shown} key SHA256:")), "{signer}");
        let tampered = String::from_utf8(commit).unwrap().replace("message", "massage");
        denied(&world, tampered.as_bytes(), &signers);
    }
}

#[test]
fn the_plain_key_of_a_token_is_another_key() {
    let world = World::of_format(ObjectFormat::Sha256);
    let token = Token::new(&world, "ed25519");
    let unsigned = world.commit(&[]);
    let commit = signed_commit(&unsigned, "gpgsig-sha256", &token.sign(&unsigned));
    let plain = token.private.public_key().to_openssh().unwrap();
    denied(&world, &commit, &ssh_signers(&format!("a {plain}")));
    trusted(&world, &commit, &ssh_signers(&format!("a {}", token.line())));
}
