//! What a certificate says about itself, as far as it is judged here. Nothing is verified.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// PEM in which no certificate can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// There is no `CERTIFICATE` block.
    #[error("there is no PEM block `CERTIFICATE`")]
    Missing,
    /// A block is damaged.
    #[error("the certificate can't be read: {0}")]
    Damaged(String),
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Valid from here on.
    pub not_before: Timestamp,
    /// Valid up to here.
    pub not_after: Timestamp,
    /// Serial number in hexadecimal: tells two certificates of one issuer apart.
    pub serial: String,
    /// Subject key identifier in hexadecimal; empty where there is none.
    pub key_id: String,
    /// The issuer's key identifier in hexadecimal; empty where there is none.
    pub issuer_key_id: String,
    /// DNS names and IP addresses, in order.
    pub names: Vec<String>,
}

/// Reads every certificate of a PEM bundle, in order.
///
/// # Errors
/// [`FactsError::Missing`] for a bundle without any, [`FactsError::Damaged`] for a broken block.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, FactsError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| FactsError::Damaged(error.to_string()))?;
    if all.is_empty() { Err(FactsError::Missing) } else { Ok(all) }
}

/// The facts of the first certificate in a PEM text.
///
/// # Errors
/// As [`certificates`]; [`FactsError::Damaged`] too where the DER is no certificate.
pub fn first(pem: &str) -> Result<Facts, FactsError> {
    let all = certificates(pem)?;
    all.first().map_or(Err(FactsError::Missing), of)
}

/// The facts of one certificate.
///
/// # Errors
/// [`FactsError::Damaged`] where the DER is no certificate.
pub fn of(der: &CertificateDer<'_>) -> Result<Facts, FactsError> {
    let damaged = |error: String| FactsError::Damaged(error);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| damaged(error.to_string()))?;
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| damaged(error.to_string()));
    let mut facts = Facts {
        not_before: time(parsed.validity().not_before.timestamp())?,
        not_after: time(parsed.validity().not_after.timestamp())?,
        serial: hex(parsed.raw_serial()),
        key_id: String::new(),
        issuer_key_id: String::new(),
        names: Vec::new(),
    };
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => facts.key_id = hex(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                facts.issuer_key_id = id.key_identifier.as_ref().map(|id| hex(id.0)).unwrap_or_default();
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                facts.names.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    GeneralName::IPAddress(octets) => address(octets),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    Ok(facts)
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).to_string())).ok()
}

/// Bytes in hexadecimal, as key identifiers are compared and shown.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_another_tool_wrote() {
        let facts = first(include_str!("../tests/data/ec.crt")).unwrap();
        assert_eq!(facts.names, ["example.test"]);
        assert_eq!(facts.key_id.len(), 40);
        assert!(facts.not_before < facts.not_after);
    }

    #[test]
    fn says_what_is_wrong_with_the_pem() {
        assert_eq!(first(""), Err(FactsError::Missing));
        assert_eq!(first(include_str!("../tests/data/ec-pkcs8.key")), Err(FactsError::Missing));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(first(broken), Err(FactsError::Damaged(_))));
    }
}
