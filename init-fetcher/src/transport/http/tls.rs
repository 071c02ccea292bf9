//! What is wrong with TLS, and what may be done about it. Pure.

use std::io;

use rustls::CertificateError;
use ureq::Error;
use workflow_contract::text;

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
        other => TransportError::Tls { host, why: text::sanitize(&other.to_string()) },
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
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host}; check the URL")
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not trusted here; add the authority as ca.crt \
             to the Secret workflow-credentials, or to the file that SSL_CERT_FILE names"
                .into()
        }
        other => format!("its certificate is not accepted ({})", text::sanitize(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
