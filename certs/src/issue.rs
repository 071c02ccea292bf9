//! Issues CA and serving certificates with ECDSA P-256 keys. Times are given by the caller.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use workflow_contract::Secret;
use workflow_contract::names::INJECTOR;

use crate::cert::{Pair, hex};

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("failed to generate a key")]
    Key(#[source] rcgen::Error),
    #[error("`{name}` is neither a DNS name nor an IP address")]
    Name {
        name: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("{0} is before 1970; correct the clock")]
    Time(Timestamp),
    #[error("failed to use the CA's certificate or key")]
    Ca(#[source] rcgen::Error),
    #[error("failed to sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// A validity period; certificates hold whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Issues a CA certificate with a path length of 0.
///
/// Each CA has a subject of its own: verifiers find an issuer by its subject, and two CAs of one bundle must not be
/// mixed up.
pub fn ca(validity: Validity) -> Result<Pair, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Key)?;
    let mut params = params(validity)?;
    let id = hex(&params.key_identifier(&key));
    params.distinguished_name = common_name(&format!("{INJECTOR} CA {}", id.get(..8).unwrap_or(&id)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(IssueError::Sign)?;
    Ok(Pair { certificate: certificate.pem(), key: Secret::new(&key.serialize_pem()) })
}

/// Issues a serving certificate for `names`, which are DNS names or IP addresses.
pub fn serving(ca: &Pair, names: &[String], validity: Validity) -> Result<Pair, IssueError> {
    let signer = KeyPair::from_pem(ca.key.expose()).map_err(IssueError::Ca)?;
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, signer).map_err(IssueError::Ca)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Key)?;
    let mut params = params(validity)?;
    params.distinguished_name = common_name(INJECTOR);
    params.subject_alt_names = names.iter().map(|name| subject_alt_name(name)).collect::<Result<_, _>>()?;
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

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::CertInfo;
    use crate::verify::verify;

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
    fn serving_certificate_is_trusted_by_its_ca_for_its_names_and_validity_only() {
        let (ours, other) = (ca(validity()).unwrap(), ca(validity()).unwrap());
        let serving = serving(&ours, &names(), validity()).unwrap();
        let within: Timestamp = "2026-01-15T00:00:00Z".parse().unwrap();
        let after: Timestamp = "2026-02-01T00:00:01Z".parse().unwrap();
        assert_eq!(verify(&ours.certificate, &serving.certificate, "localhost", within), Ok(()));
        assert!(verify(&other.certificate, &serving.certificate, "localhost", within).is_err());
        assert!(verify(&ours.certificate, &serving.certificate, "elsewhere", within).is_err());
        assert!(verify(&ours.certificate, &serving.certificate, "localhost", after).is_err());
        let both = format!("{}{}", other.certificate, ours.certificate);
        for name in names() {
            assert_eq!(verify(&both, &serving.certificate, &name, within), Ok(()), "{name}");
        }
    }

    #[test]
    fn certificates_carry_the_times_names_and_key_ids_that_rotation_reads() {
        let ca = ca(validity()).unwrap();
        let serving = serving(&ca, &names(), validity()).unwrap();
        let [ca, serving] = [ca, serving].map(|pair| CertInfo::from_pem(&pair.certificate).unwrap());
        assert_eq!((serving.not_before, serving.not_after), (validity().not_before, validity().not_after));
        assert_eq!(serving.issuer_key_id, ca.key_id);
        assert_eq!(serving.names, names());
        assert!(!ca.key_id.is_empty() && serving.serial != ca.serial);
    }

    #[test]
    fn rejects_names_and_times_that_certificates_cannot_hold() {
        let ours = ca(validity()).unwrap();
        assert!(matches!(serving(&ours, &["ä".to_owned()], validity()), Err(IssueError::Name { .. })));
        let early = Validity { not_before: Timestamp::from_second(-1).unwrap(), ..validity() };
        assert!(matches!(ca(early), Err(IssueError::Time(_))));
    }
}
