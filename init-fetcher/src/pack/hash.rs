//! Hashes of objects and packs.
//!
//! Objects of SHA-1 repositories are hashed with collision detection, as git does: a commit id that an
//! admin has pinned must not have two contents. Checksums of whole packs only detect transfer errors, so
//! they are computed without it.

use git2::{ObjectFormat, Oid};
use sha1::Digest as _;

use super::PackError;

pub enum ObjectHasher {
    Sha1(Box<sha1_checked::Sha1>),
    Sha256(Box<sha2::Sha256>),
}

impl ObjectHasher {
    pub fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(Box::default()),
            ObjectFormat::Sha256 => Self::Sha256(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => sha1_checked::Digest::update(hasher.as_mut(), bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the id of what was hashed.
    pub fn finish(self) -> Result<Oid, PackError> {
        match self {
            Self::Sha1(hasher) => {
                let result = hasher.try_finalize();
                let id = oid(result.hash())?;
                if result.has_collision() { Err(PackError::Collision(id)) } else { Ok(id) }
            }
            Self::Sha256(hasher) => oid(&hasher.finalize()),
        }
    }
}

/// Computes the checksum at the end of packs and their indexes.
pub enum ChecksumHasher {
    Sha1(sha1::Sha1),
    Sha256(Box<sha2::Sha256>),
}

impl ChecksumHasher {
    pub fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(sha1::Sha1::new()),
            ObjectFormat::Sha256 => Self::Sha256(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

fn oid(bytes: &[u8]) -> Result<Oid, PackError> {
    Oid::from_bytes(bytes).map_err(|_| PackError::Corrupt("a hash has another size".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    /// The two first 320 bytes of the files published at <https://shattered.io>, which have one SHA-1.
    const SHATTERED: [&str; 2] =
        [include_str!("testdata/shattered-1.b64"), include_str!("testdata/shattered-2.b64")];

    #[test]
    fn detects_the_published_collision() {
        for text in SHATTERED {
            let bytes = BASE64_STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap();
            let mut hasher = ObjectHasher::new(ObjectFormat::Sha1);
            hasher.update(&bytes);
            let error = hasher.finish().unwrap_err();
            assert!(matches!(error, PackError::Collision(_)), "{error}");
        }
    }

    #[test]
    fn names_objects_as_git_does() {
        for (format, id) in [
            (ObjectFormat::Sha1, "ce013625030ba8dba906f756967f9e9ca394464a"),
            (ObjectFormat::Sha256, "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4"),
        ] {
            let mut hasher = ObjectHasher::new(format);
            hasher.update(b"blob 6\0");
            hasher.update(b"hello\n");
            assert_eq!(hasher.finish().unwrap().to_string(), id);
        }
    }
}
