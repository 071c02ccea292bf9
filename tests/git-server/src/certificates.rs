//! Certificates of one server: its own and that of the CA, removed with the server.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// PEM texts of one server's certificates.
pub(crate) struct Issued {
    /// CA certificate that clients must trust.
    pub(crate) ca: String,
    /// Certificate of the server.
    pub(crate) certificate: String,
    /// Private key of the server's certificate, PKCS#8.
    pub(crate) key: String,
}

/// Validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Past,
}

/// Issues a CA and, from it, a certificate for these names and addresses. Keys are ECDSA P-256.
pub(crate) fn issue(names: Vec<String>, validity: Validity) -> Result<Issued, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "workflow-git-server CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names)?;
    if validity == Validity::Past {
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2001, 12, 31));
    }
    leaf.distinguished_name.push(DnType::CommonName, "workflow-git-server");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let certificate = leaf.signed_by(&key, &issuer)?;

    Ok(Issued { ca: ca_certificate.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}
