//! SSH signatures (PROTOCOL.sshsig), decoded and verified against their own key.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use signature::Verifier as _;
use ssh_encoding::Decode;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, Signature, SshSig};

use super::certificate::{Certificate, is_certificate, key_data};
use crate::error::SignatureError;

pub const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";

/// A signature whose key is known to have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBy {
    pub namespace: String,
    /// The key itself, that of a certificate included.
    pub key: KeyData,
    pub certificate: Option<Certificate>,
}

/// Verifies a signature over the payload with the key that it names. Text after the first signature is ignored, as
/// `ssh-keygen` does.
pub fn verify(armored: &str, payload: &[u8]) -> Result<MadeBy, SignatureError> {
    let malformed = || SignatureError::bad("it is not a complete SSH signature");
    let text = armored.strip_prefix(BEGIN).and_then(|rest| rest.split_once(END)).ok_or_else(malformed)?.0;
    let base64: String = text.split_ascii_whitespace().collect();
    let blob = BASE64_STANDARD.decode(base64).map_err(|_| malformed())?;
    let parts = Parts::decode(&blob).ok_or_else(malformed)?;
    let hash: HashAlg =
        parts.hash.parse().map_err(|_| SignatureError::bad("its hash algorithm is unknown"))?;
    let certificate = if is_certificate(&parts.key) {
        Some(Certificate::verified(&parts.key).ok_or_else(|| {
            SignatureError::bad("its certificate is malformed, of an unknown type or not signed by its CA")
        })?)
    } else {
        None
    };
    let key = match &certificate {
        Some(certificate) => certificate.key.clone(),
        None => key_data(&parts.key).ok_or_else(|| SignatureError::bad("its public key is malformed"))?,
    };
    let mut rest = parts.signature.as_slice();
    let signature = Signature::decode(&mut rest).ok().filter(|_| rest.is_empty());
    let signature = signature.ok_or_else(|| {
        SignatureError::bad("it is malformed, or made with an algorithm that is not accepted (such as SHA-1)")
    })?;
    if !is_of(&signature.algorithm(), &key) {
        return Err(SignatureError::bad("it is of another algorithm than its key"));
    }
    // The reserved field is not signed (PROTOCOL.sshsig).
    let signed = SshSig::signed_data(&parts.namespace, hash, payload).map_err(|_| malformed())?;
    key.verify(&signed, &signature)
        .map_err(|_| SignatureError::bad("it does not match the content and the key that it names"))?;
    Ok(MadeBy { namespace: parts.namespace, key, certificate })
}

struct Parts {
    key: Vec<u8>,
    namespace: String,
    hash: String,
    signature: Vec<u8>,
}

impl Parts {
    fn decode(blob: &[u8]) -> Option<Self> {
        let mut reader = blob.strip_prefix(MAGIC)?;
        let version = u32::decode(&mut reader).ok()?;
        let key = Vec::decode(&mut reader).ok()?;
        let namespace = String::decode(&mut reader).ok()?;
        let _reserved = Vec::<u8>::decode(&mut reader).ok()?;
        let hash = String::decode(&mut reader).ok()?;
        let signature = Vec::decode(&mut reader).ok()?;
        (version == SshSig::VERSION && reader.is_empty()).then_some(Self { key, namespace, hash, signature })
    }
}

/// Reports whether a signature is of the key's algorithm; for RSA with any hash, which `ssh_key` limits to SHA-2.
fn is_of(signature: &Algorithm, key: &KeyData) -> bool {
    match (signature, key.algorithm()) {
        (Algorithm::Rsa { hash: Some(_) }, Algorithm::Rsa { .. }) => true,
        (signature, key) => *signature == key,
    }
}
