//! OpenPGP public keys: which of their parts may sign, from self-signatures that are verified here.

use std::io::Cursor;

use pgp::composed::{Deserializable as _, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{Duration, Fingerprint, KeyDetails, SignedUser, Tag, Timestamp};

use crate::error::SignersError;
use crate::ssh::date;

const BEGIN: &str = "-----BEGIN PGP ";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const BEGIN_PUBLIC: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// A public key with its subkeys and their verified properties.
#[derive(Debug, Clone)]
pub struct OpenPgpKey {
    key: SignedPublicKey,
    user_id: String,
    primary: Properties,
    /// Parallel to the key's subkeys; `None` for those that are not bound or must not sign.
    subkeys: Vec<Option<Properties>>,
}

/// Properties of a primary key or subkey.
#[derive(Debug, Clone, Copy)]
struct Properties {
    may_sign: bool,
    is_revoked: bool,
    /// Unix seconds.
    expires: Option<i64>,
}

/// A key that is named by a signature.
#[derive(Debug, Clone, Copy)]
pub struct Issuer<'k> {
    pub certificate: &'k OpenPgpKey,
    part: Part<'k>,
    properties: Option<Properties>,
}

#[derive(Debug, Clone, Copy)]
enum Part<'k> {
    Primary(&'k SignedPublicKey),
    Subkey(&'k SignedPublicSubKey),
}

/// Parses the public keys of armored blocks; text between the blocks is ignored.
///
/// # Errors
/// [`SignersError::OpenPgp`], also for a key that cannot sign, and [`SignersError::NoKey`].
pub fn parse(armored: &str) -> Result<Vec<OpenPgpKey>, SignersError> {
    let failed = |why: &str| SignersError::OpenPgp { why: why.to_owned() };
    let mut keys = Vec::new();
    for block in blocks(armored) {
        if !block.starts_with(BEGIN_PUBLIC) {
            return Err(failed("only public keys belong here (gpg --armor --export)"));
        }
        let damaged = |_| failed("a key block is damaged");
        let (found, _) = SignedPublicKey::from_armor_many_buf(Cursor::new(block)).map_err(damaged)?;
        for key in found {
            let key = OpenPgpKey::new(key.map_err(damaged)?);
            if !key.has_signing_part() {
                let why = format!("the key {} ({}) cannot sign", key.fingerprint(), key.user_id());
                return Err(failed(&workflow_contract::text::one_line(&why)));
            }
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(SignersError::NoKey { list: "openpgpKeys" }) } else { Ok(keys) }
}

/// Returns the armored blocks of a text, each from its first line to its last, or to the next block without one.
fn blocks(text: &str) -> Vec<&str> {
    let starts =
        text.match_indices(BEGIN).map(|(at, _)| at).filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let blocks = starts.iter().copied().zip(ends).map(|(start, end)| &text[start..end]);
    blocks.map(|block| block.find(END).map_or(block, |at| &block[..at + END.len()])).collect()
}

impl OpenPgpKey {
    fn new(key: SignedPublicKey) -> Self {
        let primary = &key.primary_key;
        let own = own_signatures(&key);
        let latest = own.iter().max_by_key(|(signature, _)| created(signature));
        let expires = latest.and_then(|(signature, _)| expiry(primary, signature));
        let may_sign = latest.is_some_and(|(signature, _)| may_sign(signature, true));
        let is_revoked = key.details.revocation_signatures.iter().any(|s| s.verify_key(primary).is_ok());
        let properties = Properties { may_sign, is_revoked, expires };
        let subkeys = key.public_subkeys.iter().map(|subkey| subkey_properties(&key, subkey)).collect();
        let user = own
            .iter()
            .filter_map(|(s, user)| Some((s.is_primary(), created(s), (*user)?)))
            .max_by_key(|u| (u.0, u.1));
        let user_id = user.map_or("a key without a user id".into(), |(_, _, user)| {
            String::from_utf8_lossy(user.id.id()).into_owned()
        });
        Self { primary: properties, subkeys, user_id, key }
    }

    /// Returns the primary user id.
    pub fn user_id(&self) -> String {
        self.user_id.clone()
    }

    /// Returns the fingerprint of the primary key, in upper case.
    pub fn fingerprint(&self) -> String {
        hex(&self.key.fingerprint())
    }

    fn has_signing_part(&self) -> bool {
        self.primary.may_sign || self.subkeys.iter().flatten().any(|subkey| subkey.may_sign)
    }

    /// Returns why no signature of this key counts at this time, if so.
    pub fn warning(&self, now: i64) -> Option<String> {
        let usable = |part: &Properties| part.may_sign && part.objection(now).is_none();
        if usable(&self.primary) || self.subkeys.iter().flatten().any(usable) {
            return None;
        }
        let why = self.primary.objection(now);
        let why = why.or_else(|| self.subkeys.iter().flatten().find_map(|subkey| subkey.objection(now)));
        let shown = workflow_contract::text::sanitize(&self.user_id);
        why.map(|why| format!("the OpenPGP key {} of {shown} {why}", self.fingerprint()))
    }

    /// Returns the part that a signature names as its issuer.
    pub fn issuer_of(&self, signature: &Signature) -> Option<Issuer<'_>> {
        let primary = (Part::Primary(&self.key), Some(self.primary));
        let subkeys = self.key.public_subkeys.iter().zip(&self.subkeys);
        let mut parts =
            [primary].into_iter().chain(subkeys.map(|(key, properties)| (Part::Subkey(key), *properties)));
        let (part, properties) = parts.find(|(part, _)| part.is_issuer_of(signature))?;
        Some(Issuer { certificate: self, part, properties })
    }
}

impl Properties {
    fn objection(&self, now: i64) -> Option<String> {
        if self.is_revoked {
            return Some("is revoked".to_owned());
        }
        let expired = self.expires.filter(|expires| *expires <= now)?;
        Some(format!("expired on {}", date(expired)))
    }
}

impl Part<'_> {
    fn is_issuer_of(&self, signature: &Signature) -> bool {
        let fingerprints = signature.issuer_fingerprint();
        if fingerprints.is_empty() {
            let id = match self {
                Self::Primary(key) => key.legacy_key_id(),
                Self::Subkey(key) => key.legacy_key_id(),
            };
            signature.issuer_key_id().contains(&&id)
        } else {
            fingerprints.contains(&&self.fingerprint())
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Primary(key) => key.fingerprint(),
            Self::Subkey(key) => key.fingerprint(),
        }
    }
}

impl Issuer<'_> {
    /// Returns the fingerprint of the part that signed, in upper case.
    pub fn fingerprint(&self) -> String {
        hex(&self.part.fingerprint())
    }

    /// Reports whether the part made a signature over the payload.
    pub fn made(&self, signature: &Signature, payload: &[u8]) -> bool {
        match self.part {
            Part::Primary(key) => signature.verify(&key.primary_key, payload),
            Part::Subkey(subkey) => signature.verify(&subkey.key, payload),
        }
        .is_ok()
    }

    /// Returns why a signature made at `created` does not count now, if so.
    pub fn objection(&self, created: i64, now: i64) -> Option<String> {
        if let Some(why) = self.certificate.primary.objection(now) {
            return Some(why);
        }
        let Some(properties) = self.properties.filter(|properties| properties.may_sign) else {
            return Some("must not sign content".to_owned());
        };
        let key_created = match self.part {
            Part::Primary(key) => key.created_at(),
            Part::Subkey(key) => key.created_at(),
        };
        if created < i64::from(key_created.as_secs()) {
            return Some("is younger than the signature".to_owned());
        }
        properties.objection(now)
    }
}

/// Returns the verified self-signatures that hold properties of the primary key: the latest of each user id that is not
/// revoked, and those of the key itself.
fn own_signatures(key: &SignedPublicKey) -> Vec<(&Signature, Option<&SignedUser>)> {
    let primary = &key.primary_key;
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let of_users = key.details.users.iter().filter_map(|user| {
        let is_own = |signature: &&Signature| {
            let named = signature.issuer_key_id().is_empty() && signature.issuer_fingerprint().is_empty()
                || Part::Primary(key).is_issuer_of(signature);
            named && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        let latest = user.signatures.iter().filter(is_own).max_by_key(|signature| created(signature))?;
        (latest.typ() != Some(SignatureType::CertRevocation)).then_some((latest, Some(user)))
    });
    direct.map(|signature| (signature, None)).chain(of_users).collect()
}

/// Returns the properties of a subkey; `None` unless it is bound, in both directions, and may sign.
fn subkey_properties(key: &SignedPublicKey, subkey: &SignedPublicSubKey) -> Option<Properties> {
    let primary = &key.primary_key;
    let own = subkey.signatures.iter().filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok());
    let (revocations, bindings): (Vec<_>, Vec<_>) =
        own.partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    let binding = bindings.into_iter().max_by_key(|signature| created(signature))?;
    let bound_back = binding
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    (bound_back && may_sign(binding, false)).then(|| Properties {
        may_sign: true,
        is_revoked: !revocations.is_empty(),
        expires: expiry(&subkey.key, binding),
    })
}

fn created(signature: &Signature) -> u32 {
    signature.created().map_or(0, Timestamp::as_secs)
}

fn expiry(key: &impl KeyDetails, signature: &Signature) -> Option<i64> {
    let lifetime = signature.key_expiration_time().map(Duration::as_secs).filter(|life| *life > 0)?;
    Some(i64::from(key.created_at().as_secs()) + i64::from(lifetime))
}

/// Reports whether the flags allow signing; keys older than flags have none.
fn may_sign(signature: &Signature, without_flags: bool) -> bool {
    let flags = signature.config().and_then(|config| {
        config.hashed_subpackets().find_map(|sub| match &sub.data {
            SubpacketData::KeyFlags(flags) => Some(flags.sign()),
            _ => None,
        })
    });
    flags.unwrap_or(without_flags)
}

fn hex(fingerprint: &Fingerprint) -> String {
    format!("{fingerprint:X}")
}
