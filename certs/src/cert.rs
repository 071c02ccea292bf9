//! A certificate chain with its private key: parsed, matched, and checked for use at a given time.
//!
//! There is one path for the Secret, a directory and every issuer. A pair that would break the next handshake is
//! rejected here, so that the caller can keep serving the one it has.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use workflow_contract::Secret;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A reason why a certificate or pair can't be used. It never carries a part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    #[error("there is no PEM block `CERTIFICATE`")]
    Missing,
    #[error("the certificate can't be read: {0}")]
    Damaged(String),
    #[error("there is no private key: PEM `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY` is expected")]
    NoKey,
    #[error("the private key is encrypted; provide it without a passphrase")]
    EncryptedKey,
    #[error("the private key can't be used: it is damaged, or neither RSA, ECDSA (P-256, P-384) nor Ed25519")]
    Key,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    #[error("the certificate is not valid before {0}; check the clocks of the nodes")]
    NotYetValid(Timestamp),
}

/// A certificate chain and the private key of its first certificate, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The serving or CA certificate first, then intermediates.
    pub certificate: String,
    /// PKCS#8, SEC1 or PKCS#1.
    pub key: Secret,
}

/// The fields of a certificate that decisions are based on. Nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    pub not_before: Timestamp,
    /// The first moment at which it is not valid any more.
    pub not_after: Timestamp,
    /// Hexadecimal.
    pub serial: String,
    /// Subject key identifier in hexadecimal; empty if there is none.
    pub key_id: String,
    /// Authority key identifier in hexadecimal; empty if there is none.
    pub issuer_key_id: String,
    /// DNS names and IP addresses of the subject alternative name, in order.
    pub names: Vec<String>,
}

impl CertInfo {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, CertError> {
        parse_bundle(pem)?.first().map_or(Err(CertError::Missing), Self::from_der)
    }

    /// Reads a certificate in DER.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, CertError> {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| CertError::Damaged(error.to_string()))?;
        let mut info = Self {
            not_before: timestamp(parsed.validity().not_before.timestamp()),
            not_after: timestamp(parsed.validity().not_after.timestamp()),
            serial: hex(parsed.raw_serial()),
            key_id: String::new(),
            issuer_key_id: String::new(),
            names: Vec::new(),
        };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => info.key_id = hex(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    info.issuer_key_id = id.key_identifier.as_ref().map(|id| hex(id.0)).unwrap_or_default();
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    info.names.extend(names.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        GeneralName::IPAddress(octets) => address(octets),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        Ok(info)
    }

    /// Checks the validity period.
    pub fn check_time(&self, now: Timestamp) -> Result<(), CertError> {
        if now >= self.not_after {
            Err(CertError::Expired(self.not_after))
        } else if now < self.not_before {
            Err(CertError::NotYetValid(self.not_before))
        } else {
            Ok(())
        }
    }

    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.check_time(now).is_ok()
    }
}

/// Reads every certificate of a PEM bundle, in order.
pub fn parse_bundle(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertError::Damaged(error.to_string()))?;
    if all.is_empty() { Err(CertError::Missing) } else { Ok(all) }
}

/// A pair that can be served.
#[derive(Debug, Clone)]
pub struct LoadedPair {
    pub key: Arc<CertifiedKey>,
    pub info: CertInfo,
}

/// Loads a pair for serving at `now`.
pub fn load(pair: &Pair, now: Timestamp) -> Result<LoadedPair, CertError> {
    let key = certified_key(pair)?;
    let info = CertInfo::from_der(key.end_entity_cert().map_err(|_| CertError::Missing)?)?;
    info.check_time(now)?;
    Ok(LoadedPair { key: Arc::new(key), info })
}

/// Parses a pair and checks that certificate and key belong together, regardless of time.
pub fn certified_key(pair: &Pair) -> Result<CertifiedKey, CertError> {
    let chain = parse_bundle(&pair.certificate)?;
    let der = private_key(pair.key.expose())?;
    let key = any_supported_type(&der).map_err(|_| CertError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| CertError::Mismatch)?;
    Ok(certified)
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, CertError> {
    use rustls_pki_types::pem::Error;
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") => {
            Err(CertError::EncryptedKey)
        }
        Err(Error::NoItemsFound) => Err(CertError::NoKey),
        Err(_) => Err(CertError::Key),
    }
}

/// RFC 5280 writes "no expiration" as the last second of the year 9999, which is beyond what `Timestamp` holds.
fn timestamp(seconds: i64) -> Timestamp {
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(limit)
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).to_string())).ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{self, Validity};

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
    fn reads_certificates_of_other_tools() {
        let info = CertInfo::from_pem(EC).unwrap();
        assert_eq!(info.names, ["example.test"]);
        assert_eq!(info.key_id.len(), 40);
        assert!(info.not_before < info.not_after);
    }

    #[test]
    fn reads_a_certificate_without_expiration() {
        let last_second_of_9999 = 253_402_300_799;
        assert_eq!(timestamp(last_second_of_9999), Timestamp::MAX);
    }

    #[test]
    fn names_the_damage_of_a_bundle() {
        assert_eq!(CertInfo::from_pem(""), Err(CertError::Missing));
        assert_eq!(CertInfo::from_pem(EC_PKCS8), Err(CertError::Missing));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(CertInfo::from_pem(broken), Err(CertError::Damaged(_))));
    }

    #[test]
    fn accepts_keys_in_every_pem_form() {
        let forms = [(EC, EC_PKCS8), (EC, EC_SEC1), (RSA, RSA_PKCS8), (RSA, RSA_PKCS1)];
        for (certificate, key) in forms {
            let first_line = key.lines().next().unwrap();
            assert!(load(&pair(certificate, key), now()).is_ok(), "{first_line}");
        }
        let crlf = pair(&EC.replace('\n', "\r\n"), &EC_SEC1.replace('\n', "\r\n"));
        assert!(load(&crlf, now()).is_ok());
    }

    #[test]
    fn rejects_pairs_that_would_break_the_next_handshake() {
        let cut = &EC_PKCS8[..EC_PKCS8.len() / 2];
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let table = [
            ("key of another pair", pair(EC, RSA_PKCS8), CertError::Mismatch),
            ("no certificate", pair("", EC_PKCS8), CertError::Missing),
            ("halves swapped", pair(EC_PKCS8, EC), CertError::Missing),
            ("no key", pair(EC, EC), CertError::NoKey),
            ("cut key", pair(EC, cut), CertError::Key),
            ("not a key", pair(EC, no_key), CertError::Key),
            ("passphrase", pair(EC, EC_ENCRYPTED), CertError::EncryptedKey),
        ];
        for (case, pair, expected) in table {
            assert_eq!(load(&pair, now()).unwrap_err(), expected, "{case}");
        }
    }

    #[test]
    fn rejects_certificates_outside_their_validity() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (not_before, not_after) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let pair = issue::ca(Validity { not_before, not_after }).unwrap();
        for (now, expected) in [
            ("2025-12-31T23:59:59Z", Some(CertError::NotYetValid(not_before))),
            ("2026-01-01T00:00:00Z", None),
            ("2026-01-01T23:59:59Z", None),
            ("2026-01-02T00:00:00Z", Some(CertError::Expired(not_after))),
        ] {
            assert_eq!(load(&pair, at(now)).err(), expected, "{now}");
        }
    }

    #[test]
    fn errors_and_debug_output_carry_no_part_of_the_key() {
        let body = EC_PKCS8.lines().nth(1).unwrap();
        let broken = EC_PKCS8.replace("-----END", "----END");
        let error = load(&pair(EC, &broken), now()).unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", pair(EC, EC_PKCS8)).contains(body));
    }
}
