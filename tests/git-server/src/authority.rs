//! The server's certificate and the authority that signed it, both made for one server and thrown away with it.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM texts of one server's trust chain.
pub(crate) struct Authority {
    /// Certificate of the CA: what clients must trust.
    pub(crate) ca: String,
    /// Certificate of the server.
    pub(crate) certificate: String,
    /// Private key of the server's certificate, PKCS#8.
    pub(crate) key: String,
}

/// Issues a CA and, from it, a certificate for `address` and `localhost`. Keys are ECDSA P-256.
pub(crate) fn issue(address: IpAddr) -> Result<Authority, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "workflow-git-server CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "workflow-git-server");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let certificate = leaf.signed_by(&key, &issuer)?;

    Ok(Authority { ca: ca_certificate.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}
