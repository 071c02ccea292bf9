//! Which certificate authorities are trusted: the built-in roots, and those that the installation adds.
//!
//! A file that is named and can't be used does not end the run: it may be meant for something else,
//! and where it is needed TLS fails with a message of its own. It is logged.

use std::fs;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts};

use crate::config::TrustSettings;

/// Reads all roots.
pub fn roots(settings: &TrustSettings) -> RootCerts {
    let mut roots: Vec<Certificate<'static>> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()))
        .collect();
    for file in &settings.files {
        add(file, &mut roots);
    }
    for dir in &settings.dirs {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "directory of certificate authorities can't be read");
                continue;
            }
        };
        for entry in entries.flatten() {
            if fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
                add(&entry.path(), &mut roots);
            }
        }
    }
    RootCerts::from(roots)
}

fn add(file: &Path, roots: &mut Vec<Certificate<'static>>) {
    let pem = match fs::read(file) {
        Ok(pem) => pem,
        // Most places to look are optional.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "certificate authorities can't be read");
            return;
        }
    };
    let found = parse(&pem);
    if found.is_empty() {
        tracing::warn!(file = %file.display(), "no PEM certificate found in the file of certificate authorities");
    }
    roots.extend(found);
}

fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().map(|der| Certificate::from_der(&der).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn count(roots: &RootCerts) -> usize {
        let RootCerts::Specific(roots) = roots else { panic!("not a list of roots") };
        roots.len()
    }

    #[test]
    fn adds_files_and_directories_to_the_built_in_roots() {
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
        let built_in = count(&roots(&TrustSettings::default()));
        assert!(built_in > 50);
        assert_eq!(count(&roots(&settings)), built_in + 3);
    }
}
