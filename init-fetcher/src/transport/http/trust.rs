//! Trusted certificates that the installation adds to the built-in roots.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::client::VerifierBuilderError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use workflow_contract::text;

use crate::config::TrustSettings;

/// A file of CA certificates that cannot be used. It ends the run: without it, TLS would fail later with a message that
/// points elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{}: it contains no certificate; it must be PEM or DER", shown(.0))]
    NoCertificate(PathBuf),
    #[error("{}: it cannot be read: {source}", shown(.file))]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Roots(#[from] VerifierBuilderError),
}

fn shown(file: &Path) -> String {
    text::sanitize(&file.to_string_lossy())
}

/// Reads all certificates. Files that do not exist are skipped; so are files of a directory that contain no certificate.
///
/// # Errors
/// [`TrustError`] for a file that exists and cannot be used.
pub fn certificates(settings: &TrustSettings) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let mut all = Vec::new();
    for file in &settings.files {
        match fs::read(file) {
            Ok(bytes) => match parse(&bytes) {
                found if found.is_empty() => return Err(TrustError::NoCertificate(file.clone())),
                found => all.extend(found),
            },
            // Most of the files are optional.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(TrustError::Unreadable { file: file.clone(), source }),
        }
    }
    for directory in &settings.dirs {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "failed to read directory of CA certificates");
                continue;
            }
        };
        for file in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            match fs::read(&file) {
                Ok(bytes) => all.extend(parse(&bytes)),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "failed to read CA certificates");
                }
            }
        }
    }
    Ok(all)
}

/// Parses all certificates of a PEM text, with or without a byte order mark, or one DER certificate.
pub fn parse(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    /// The tag of a DER sequence, and its length in the two bytes after this one.
    const DER: [u8; 2] = [0x30, 0x82];
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(&DER) {
        return vec![CertificateDer::from(bytes.to_vec())];
    }
    CertificateDer::pem_slice_iter(bytes).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn reads_files_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("two.pem");
        fs::write(&file, format!("# a comment\n{CA}{CA}")).unwrap();
        let directory = dir.path().join("directory");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("one"), CA).unwrap();
        fs::write(directory.join("none"), "not a certificate").unwrap();
        let settings = TrustSettings {
            files: vec![file, dir.path().join("absent")],
            dirs: vec![directory, dir.path().join("absent")],
        };
        assert_eq!(certificates(&settings).unwrap().len(), 3);
    }

    #[test]
    fn accepts_byte_order_mark_crlf_and_der() {
        let crlf = CA.replace('\n', "\r\n");
        let marked = [b"\xef\xbb\xbf", CA.as_bytes()].concat();
        for bytes in [crlf.as_bytes(), &marked, &[0x30, 0x82, 0, 1, 0]] {
            assert_eq!(parse(bytes).len(), 1, "{bytes:?}");
        }
        for bytes in
            [&b""[..], b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert!(parse(bytes).is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn names_a_file_without_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        fs::write(&file, "nothing").unwrap();
        let error = certificates(&TrustSettings { files: vec![file.clone()], dirs: Vec::new() }).unwrap_err();
        assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
    }
}
