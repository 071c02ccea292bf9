//! Loads a pair for serving, wherever it comes from: one path for Secret, directory and every issuer.
//!
//! A pair that would break the next handshake is refused here, with a message that says why, so
//! that the caller can go on serving the one it has.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::facts::{self, Facts, FactsError};
use crate::pair::Pair;

/// Why a pair can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The certificate can't be read.
    #[error(transparent)]
    Certificate(#[from] FactsError),
    /// There is no private key.
    #[error("there is no private key: PEM `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY` is expected")]
    NoKey,
    /// The key is protected by a passphrase, which nobody is there to type.
    #[error("the private key is encrypted; give it without a passphrase")]
    EncryptedKey,
    /// The key can't be read or is of a kind that TLS does not use. What it says is not shown: an
    /// error must not carry parts of a key.
    #[error("the private key can't be used: it is damaged, or neither RSA, ECDSA (P-256, P-384) nor Ed25519")]
    Key,
    /// Certificate and key belong to different pairs.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The certificate is over.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The certificate is not valid yet.
    #[error("the certificate is valid only from {0} on; are the clocks right?")]
    NotYetValid(Timestamp),
}

/// A pair that can be served.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Chain and key as rustls takes them.
    pub key: Arc<CertifiedKey>,
    /// What the certificate says about itself.
    pub facts: Facts,
}

/// Loads a pair that is to be served at `now`.
///
/// # Errors
/// [`LoadError`] with what is wrong; never a part of the key.
pub fn load(pair: &Pair, now: Timestamp) -> Result<Loaded, LoadError> {
    let key = matching(pair)?;
    let facts = facts::of(key.end_entity_cert().map_err(|_| FactsError::Missing)?)?;
    if now >= facts.not_after {
        return Err(LoadError::Expired(facts.not_after));
    }
    if now < facts.not_before {
        return Err(LoadError::NotYetValid(facts.not_before));
    }
    Ok(Loaded { key: Arc::new(key), facts })
}

/// Reads a pair and checks that its two halves belong together; time plays no part.
///
/// # Errors
/// [`LoadError`], all but the two about time.
pub fn matching(pair: &Pair) -> Result<CertifiedKey, LoadError> {
    let chain = facts::certificates(&pair.certificate)?;
    let der = private_key(pair.key.expose())?;
    let key = any_supported_type(&der).map_err(|_| LoadError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| LoadError::Mismatch)?;
    Ok(certified)
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, LoadError> {
    use rustls_pki_types::pem::Error;
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") => {
            Err(LoadError::EncryptedKey)
        }
        Err(Error::NoItemsFound) => Err(LoadError::NoKey),
        Err(_) => Err(LoadError::Key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{self, Validity};
    use workflow_contract::Secret;

    const EC: &str = include_str!("../tests/data/ec.crt");
    const RSA: &str = include_str!("../tests/data/rsa.crt");
    const EC_PKCS8: &str = include_str!("../tests/data/ec-pkcs8.key");
    const EC_SEC1: &str = include_str!("../tests/data/ec-sec1.key");
    const EC_ENCRYPTED: &str = include_str!("../tests/data/ec-encrypted.key");
    const RSA_PKCS8: &str = include_str!("../tests/data/rsa-pkcs8.key");
    const RSA_PKCS1: &str = include_str!("../tests/data/rsa-pkcs1.key");

    fn pair(certificate: &str, key: &str) -> Pair {
        Pair { certificate: certificate.to_owned(), key: Secret::new(key) }
    }

    /// A time within the validity of the certificates in `tests/data`.
    fn now() -> Timestamp {
        "2050-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn accepts_keys_in_every_pem_form() {
        let forms = [(EC, EC_PKCS8), (EC, EC_SEC1), (RSA, RSA_PKCS8), (RSA, RSA_PKCS1)];
        for (certificate, key) in forms {
            let first_line = key.lines().next().unwrap();
            assert!(load(&pair(certificate, key), now()).is_ok(), "{first_line}");
        }
        let crlf = EC_SEC1.replace('\n', "\r\n");
        assert!(load(&pair(&EC.replace('\n', "\r\n"), &crlf), now()).is_ok(), "line ends of Windows");
    }

    #[test]
    fn rejects_what_would_break_the_next_handshake() {
        let cut = &EC_PKCS8[..EC_PKCS8.len() / 2];
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let table = [
            ("key of another pair", pair(EC, RSA_PKCS8), LoadError::Mismatch),
            ("no certificate", pair("", EC_PKCS8), LoadError::Certificate(FactsError::Missing)),
            ("halves swapped", pair(EC_PKCS8, EC), LoadError::Certificate(FactsError::Missing)),
            ("no key", pair(EC, EC), LoadError::NoKey),
            ("cut key", pair(EC, cut), LoadError::Key),
            ("not a key", pair(EC, no_key), LoadError::Key),
            ("passphrase", pair(EC, EC_ENCRYPTED), LoadError::EncryptedKey),
        ];
        for (case, pair, expected) in table {
            assert_eq!(load(&pair, now()).unwrap_err(), expected, "{case}");
        }
    }

    #[test]
    fn rejects_certificates_outside_their_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (not_before, not_after) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let pair = issue::authority(Validity { not_before, not_after }).unwrap();
        for (now, expected) in [
            ("2025-12-31T23:59:59Z", Some(LoadError::NotYetValid(not_before))),
            ("2026-01-01T00:00:00Z", None),
            ("2026-01-01T23:59:59Z", None),
            ("2026-01-02T00:00:00Z", Some(LoadError::Expired(not_after))),
        ] {
            assert_eq!(load(&pair, at(now)).err(), expected, "{now}");
        }
    }

    #[test]
    fn no_error_carries_a_part_of_the_key() {
        let body = EC_PKCS8.lines().nth(1).unwrap();
        let broken = EC_PKCS8.replace("-----END", "----END");
        let error = load(&pair(EC, &broken), now()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(body));
    }
}
