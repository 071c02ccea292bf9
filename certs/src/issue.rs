//! Issues certificates: an authority, and leaves under it. ECDSA P-256.
//!
//! Times come from the caller; the only thing taken from outside is randomness for keys.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use workflow_contract::Secret;
use workflow_contract::names::INJECTOR;

use crate::facts::hex;
use crate::pair::Pair;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No key could be made.
    #[error("failed to make a key")]
    Key(#[source] rcgen::Error),
    /// A name can't stand in a certificate.
    #[error("`{name}` can't stand in a certificate: neither a DNS name nor an IP address")]
    Name {
        /// The name as given.
        name: String,
        /// What the encoder says.
        #[source]
        source: rcgen::Error,
    },
    /// The time lies outside what a certificate can say.
    #[error("{0} lies before 1970, which no certificate is issued for here")]
    Time(Timestamp),
    /// The authority's own certificate or key can't be used.
    #[error("failed to sign with the authority's key")]
    Authority(#[source] rcgen::Error),
    /// The certificate could not be signed.
    #[error("failed to sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// From when to when a certificate is valid; whole seconds, as certificates have no finer times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Valid from here on.
    pub not_before: Timestamp,
    /// Valid up to here.
    pub not_after: Timestamp,
}

/// Issues an authority that signs leaves and nothing else. Each has a name of its own, so that two
/// of them in one bundle can't be taken for each other.
///
/// # Errors
/// [`IssueError`] names the step.
pub fn authority(validity: Validity) -> Result<Pair, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Key)?;
    let mut params = params(validity)?;
    let id = hex(&params.key_identifier(&key));
    params.distinguished_name = name(&format!("{INJECTOR} authority {}", id.get(..8).unwrap_or(&id)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(IssueError::Sign)?;
    Ok(Pair { certificate: certificate.pem(), key: Secret::new(&key.serialize_pem()) })
}

/// Issues a server certificate for these names: DNS names or IP addresses.
///
/// # Errors
/// [`IssueError`] names the step.
pub fn leaf(authority: &Pair, names: &[String], validity: Validity) -> Result<Pair, IssueError> {
    let signer = KeyPair::from_pem(authority.key.expose()).map_err(IssueError::Authority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer).map_err(IssueError::Authority)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Key)?;
    let mut params = params(validity)?;
    params.distinguished_name = name(INJECTOR);
    for name in names {
        params.subject_alt_names.push(subject_alt_name(name)?);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(IssueError::Sign)?;
    Ok(Pair { certificate: certificate.pem(), key: Secret::new(&key.serialize_pem()) })
}

fn subject_alt_name(name: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.try_into().map_err(|source| IssueError::Name { name: name.to_owned(), source })?;
    Ok(SanType::DnsName(dns))
}

fn params(validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let time = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).map_err(|_| IssueError::Time(at))?;
        Ok(epoch + Duration::from_secs(seconds))
    };
    params.not_before = time(validity.not_before)?;
    params.not_after = time(validity.not_after)?;
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;
    use crate::trust::trusts;

    fn validity() -> Validity {
        Validity {
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2026-02-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn names() -> Vec<String> {
        ["workflow-injector.workflow-injector.svc", "localhost", "10.0.0.1", "fd00::1"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn a_leaf_is_trusted_by_its_authority_for_its_names_and_time_only() {
        let (ours, other) = (authority(validity()).unwrap(), authority(validity()).unwrap());
        let leaf = leaf(&ours, &names(), validity()).unwrap();
        let within: Timestamp = "2026-01-15T00:00:00Z".parse().unwrap();
        let after: Timestamp = "2026-02-01T00:00:01Z".parse().unwrap();
        assert_eq!(trusts(&ours.certificate, &leaf.certificate, "localhost", within), Ok(()));
        assert!(trusts(&other.certificate, &leaf.certificate, "localhost", within).is_err());
        assert!(trusts(&ours.certificate, &leaf.certificate, "elsewhere", within).is_err());
        assert!(trusts(&ours.certificate, &leaf.certificate, "localhost", after).is_err());
        let both = format!("{}{}", other.certificate, ours.certificate);
        for name in names() {
            assert_eq!(trusts(&both, &leaf.certificate, &name, within), Ok(()), "{name}");
        }
    }

    #[test]
    fn certificates_carry_the_times_and_key_ids_that_rotation_reads() {
        let authority = authority(validity()).unwrap();
        let leaf = facts::first(&leaf(&authority, &names(), validity()).unwrap().certificate).unwrap();
        let authority = facts::first(&authority.certificate).unwrap();
        assert_eq!((leaf.not_before, leaf.not_after), (validity().not_before, validity().not_after));
        assert_eq!(leaf.issuer_key_id, authority.key_id);
        assert_eq!(leaf.names, names());
        assert!(!authority.key_id.is_empty() && leaf.serial != authority.serial);
    }

    #[test]
    fn no_key_shows_when_a_pair_is_formatted() {
        let pair = authority(validity()).unwrap();
        assert!(!format!("{pair:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn rejects_names_and_times_that_no_certificate_can_hold() {
        let ours = authority(validity()).unwrap();
        assert!(matches!(leaf(&ours, &["ä".to_owned()], validity()), Err(IssueError::Name { .. })));
        let early = Validity { not_before: Timestamp::from_second(-1).unwrap(), ..validity() };
        assert!(matches!(authority(early), Err(IssueError::Time(_))));
    }
}
