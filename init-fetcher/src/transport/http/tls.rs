//! What is wrong with TLS, and what may be done about it. Pure.

use std::io;

use rustls::CertificateError;
use ureq::Error;
use workflow_contract::text;

use super::verifier::Untrusted;
use crate::protocol::ProtocolError;
use crate::transport::TransportError;

/// The TLS library's error, if that is what a failed request is about.
pub fn error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => of_io(error),
        _ => None,
    }
}

/// The same for an error of reading or writing.
pub fn of_io(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What it means.
pub fn failed(error: &rustls::Error, host: String) -> TransportError {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            TransportError::Tls { why: certificate(error, &host), host }
        }
        // What came is no TLS at all: mostly the plain http of another port.
        rustls::Error::InvalidMessage(_) => TransportError::NotTls { host },
        // It was TLS before; another connection may be sound.
        rustls::Error::DecryptError => {
            ProtocolError::Malformed("what came by TLS was changed on the way".into()).into()
        }
        other => TransportError::Tls { host, why: handshake(other) },
    }
}

/// Explains a handshake that failed for another reason than the server's certificate.
fn handshake(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                "it accepts none of the cipher suites and signature algorithms offered; the server needs TLS settings \
                 that allow one with forward secrecy, or a certificate with a key of RSA, ECDSA P-256 or P-384, or \
                 Ed25519"
                    .into()
            }
            Alert::ProtocolVersion => {
                "it speaks neither TLS 1.2 nor TLS 1.3; the server's TLS settings must allow one".into()
            }
            Alert::CertificateRequired => {
                "it wants a client certificate; add the keys tls.crt and tls.key to the Secret \
                 workflow-credentials"
                    .into()
            }
            Alert::UnrecognisedName => "it does not serve this host name; check the URL".into(),
            other => format!("it ended the handshake with the alert {}", text::sanitize(&format!("{other:?}"))),
        },
        rustls::Error::PeerIncompatible(_) => {
            "it has no TLS version, cipher suite or key exchange in common with this client (TLS 1.2 and 1.3); the \
             server's TLS settings must allow one"
                .into()
        }
        other => text::sanitize(&other.to_string()),
    }
}

fn certificate(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; it must be renewed on the server".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clocks".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "its certificate names the host only as its common name; the server needs one with subjectAltName".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host}; check the URL")
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by a CA that is not trusted here; add the CA certificate as ca.crt to the Secret \
             workflow-credentials, or to the file that SSL_CERT_FILE names (if that CA is trusted already, the server \
             must send its intermediate certificates)"
                .into()
        }
        CertificateError::Other(other) if other.0.is::<Untrusted>() => match other.0.downcast_ref() {
            Some(Untrusted::CaCertificate) => {
                "its certificate is that of a CA; the server needs one of its own, or add this one as ca.crt to the \
                 Secret workflow-credentials"
                    .into()
            }
            _ => "its certificate is self-signed and not trusted here; add it as ca.crt to the Secret \
                  workflow-credentials, or to the file that SSL_CERT_FILE names"
                .into(),
        },
        // webpki's own error, which it displays by its name.
        CertificateError::Other(other) if other.to_string() == "UnsupportedCertVersion" => {
            "its certificate is of X.509 version 1; the server needs one of version 3".into()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed by an algorithm that is not supported here; the server needs one with \
             ECDSA P-256 or P-384, Ed25519 or RSA"
                .into()
        }
        other => format!("its certificate is not accepted ({})", text::sanitize(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_fault_and_no_debug_value() {
        use rustls::{AlertDescription as Alert, OtherError};
        use std::sync::Arc;
        let other = |name: &str| {
            CertificateError::Other(OtherError(Arc::new(io::Error::other(name.to_owned())))).into()
        };
        for (error, said) in [
            (other("UnsupportedCertVersion"), "X.509 version 1"),
            (rustls::Error::AlertReceived(Alert::HandshakeFailure), "none of the cipher suites"),
            (rustls::Error::AlertReceived(Alert::ProtocolVersion), "neither TLS 1.2 nor TLS 1.3"),
            (rustls::Error::AlertReceived(Alert::CertificateRequired), "wants a client certificate"),
        ] {
            let message = failed(&error, "h".to_owned()).to_string();
            assert!(message.contains(said) && !message.contains("Error("), "{message}");
        }
    }

    #[test]
    fn tells_bad_certificates_from_no_tls_from_broken_tls() {
        use rustls::{AlertDescription, InvalidMessage};
        let of = |error| failed(&error, "h".to_owned());
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(of(unknown).to_string().contains("not trusted here"));
        let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert!(matches!(of(plain), TransportError::NotTls { .. }));
        assert!(of(rustls::Error::DecryptError).retryable().is_some());
        let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert!(matches!(of(alert), TransportError::Tls { .. }));
    }
}
