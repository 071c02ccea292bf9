//! Messages about TLS: the fault and the remedy. Pure.

use std::io;

use rustls::CertificateError;
use ureq::Error;
use workflow_contract::text;

use super::verifier::Untrusted;
use crate::protocol::ProtocolError;
use crate::transport::TransportError;

/// Finds the TLS library's error in that of a failed request.
pub fn error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => of_io(error),
        _ => None,
    }
}

/// Finds the TLS library's error in that of reading or writing.
pub fn of_io(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Converts an error of the TLS library.
pub fn failed(error: &rustls::Error, host: String) -> TransportError {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            TransportError::Tls { why: certificate(error, &host), host }
        }
        // The server does not use TLS at all: mostly the plain http of another port.
        rustls::Error::InvalidMessage(_) => TransportError::NotTls { host },
        // It was TLS before; another connection may be sound.
        rustls::Error::DecryptError => {
            ProtocolError::Malformed("a TLS record was changed on the way".into()).into()
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
            other => format!("it ended the handshake with the alert \"{}\"", words_of_name(&format!("{other:?}"))),
        },
        rustls::Error::PeerIncompatible(_) => {
            "it has no TLS version, cipher suite or key exchange in common with this client (TLS 1.2 and 1.3); the \
             server's TLS settings must allow one"
                .into()
        }
        rustls::Error::PeerMisbehaved(fault) => {
            format!("it violates the protocol ({}); the server's TLS needs an update", words_of_name(&format!("{fault:?}")))
        }
        other => text::sanitize(&other.to_string()),
    }
}

/// Converts the name of a Rust value, such as `UnsupportedCriticalExtension`, to words.
fn words_of_name(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() && !words.ends_with([' ', '(']) {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    text::sanitize(&words)
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
            Some(Untrusted::ShortKey) => {
                "the key of its certificate is too short; the server needs one with an RSA key of at least 2048 bits, \
                 or ECDSA P-256, P-384 or Ed25519"
                    .into()
            }
            _ => "its certificate is self-signed and not trusted here; add it as ca.crt to the Secret \
                  workflow-credentials, or to the file that SSL_CERT_FILE names"
                .into(),
        },
        // webpki's own error, which it displays by its name.
        CertificateError::Other(other) if other.0.to_string() == "UnsupportedCertVersion" => {
            "its certificate is of X.509 version 1; the server needs one of version 3".into()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed by an algorithm that is not supported here; the server needs one with \
             ECDSA P-256 or P-384, Ed25519 or RSA"
                .into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extended key usage); the server needs one that is".into()
        }
        CertificateError::BadSignature => "its certificate or the signature by it is not valid; check the server".into(),
        // Only the name of the value says what is wrong.
        CertificateError::Other(other) => {
            format!("its certificate is not accepted: {}", words_of_name(&other.0.to_string()))
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
        for (error, expected) in [
            (other("UnsupportedCertVersion"), "X.509 version 1"),
            (other("UnsupportedCriticalExtension"), "is not accepted: unsupported critical extension"),
            (rustls::Error::AlertReceived(Alert::InternalError), "with the alert \"internal error\""),
            (rustls::Error::AlertReceived(Alert::HandshakeFailure), "none of the cipher suites"),
            (rustls::Error::AlertReceived(Alert::ProtocolVersion), "neither TLS 1.2 nor TLS 1.3"),
            (rustls::Error::AlertReceived(Alert::CertificateRequired), "wants a client certificate"),
        ] {
            let message = failed(&error, "h".to_owned()).to_string();
            assert!(message.contains(expected) && !message.contains("Error("), "{message}");
        }
    }

    #[test]
    fn separates_bad_certificates_no_tls_and_broken_tls() {
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
