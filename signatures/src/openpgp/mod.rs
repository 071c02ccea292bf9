//! OpenPGP signatures, judged as gpg does for git: a good signature by a key that is neither revoked nor expired now.

mod keys;

use std::io::Cursor;

use pgp::composed::{Deserializable as _, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use workflow_contract::text;

pub use keys::{OpenPgpKey, parse};

use crate::error::{KeyName, SignatureError};
use crate::object::SignedObject;
use crate::signer::Signer;

pub const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";
pub const BEGIN_MESSAGE: &str = "-----BEGIN PGP MESSAGE-----";

/// Verifies an OpenPGP signature; `now` in Unix seconds.
pub fn verify(object: &SignedObject, keys: &[OpenPgpKey], now: i64) -> Result<Signer, SignatureError> {
    let signature = single(&object.signature)?;
    let algorithm = signature.hash_alg();
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(SignatureError::bad("it is no signature of a document"));
    }
    let Some(key) = keys.iter().find_map(|key| key.issuer_of(&signature)) else {
        return Err(SignatureError::UnknownKey { key: issuer(&signature) });
    };
    let name = KeyName { kind: "OpenPGP".to_owned(), fingerprint: key.fingerprint() };
    if !key.made(&signature, &object.payload) {
        return Err(SignatureError::bad(format!("it does not match the content and the {name}")));
    }
    let signer = text::sanitize(&key.certificate.user_id());
    let not_valid =
        |why: String| SignatureError::KeyNotValid { key: name.clone(), signer: signer.clone(), why };
    if matches!(algorithm, Some(HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160) | None) {
        return Err(SignatureError::bad(
            "it uses a hash algorithm in which collisions can be made (such as SHA-1)",
        ));
    }
    if has_unknown_critical(&signature) {
        return Err(SignatureError::bad("it has a critical subpacket that is not known here"));
    }
    let created = signature.created().map(|time| i64::from(time.as_secs()));
    let created = created.ok_or_else(|| SignatureError::bad("it names no time"))?;
    let lifetime = signature.signature_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    if lifetime > 0 && created + lifetime <= now {
        return Err(SignatureError::bad("it has expired"));
    }
    if let Some(why) = key.objection(created, now) {
        return Err(not_valid(why));
    }
    Ok(Signer { name: signer, key: name })
}

/// Decodes the only signature of a text.
fn single(armored: &[u8]) -> Result<Signature, SignatureError> {
    let several = || SignatureError::bad("there is more than one signature");
    let begins = armored.split(|&b| b == b'\n').filter(|line| line.starts_with(b"-----BEGIN ")).count();
    if begins > 1 {
        return Err(several());
    }
    let malformed = |_| SignatureError::bad("it is not a complete OpenPGP signature");
    let (mut all, _) = DetachedSignature::from_armor_many_buf(Cursor::new(armored)).map_err(malformed)?;
    let first = all.next().ok_or_else(|| SignatureError::bad("it is empty"))?.map_err(malformed)?;
    if all.next().is_some() { Err(several()) } else { Ok(first.signature) }
}

/// Names the issuer of a signature by an unlisted key.
fn issuer(signature: &Signature) -> KeyName {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| format!("{id}").to_uppercase());
    KeyName {
        kind: "OpenPGP".to_owned(),
        fingerprint: fingerprint.or_else(id).unwrap_or_else(|| "(without an id)".to_owned()),
    }
}

/// Reports whether a signature must not be interpreted without more knowledge (RFC 9580, 5.2.3.7).
fn has_unknown_critical(signature: &Signature) -> bool {
    let unknown = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..)
        )
    };
    signature
        .config()
        .is_none_or(|config| config.hashed_subpackets().any(|sub| sub.is_critical && unknown(&sub.data)))
}
