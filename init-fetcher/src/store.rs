//! Objects as they arrive: packs, indexed by libgit2, which names each object by the hash of its content.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use git2::{Indexer, ObjectType, Odb, Oid};
use workflow_contract::text;

use crate::config::Limits;
use crate::resolve::RefNotFound;
use crate::transport::{PackSink, TransportError};
use crate::tree::plan::Objects;
use crate::volume::VolumeError;

/// Bytes handed to the indexer at a time. It writes through a mapping and makes sure of the last page
/// only: with more than a page at once, a full volume would be a SIGBUS instead of an error.
const PAGE: usize = 4096;
/// Mode of pack files, as git's own.
const PACK_MODE: u32 = 0o444;
/// Objects that are neither file nor folder of the delivered tree: commits, tags, folders on the way.
const OTHER_OBJECTS: u64 = 10_000;

/// What is being done when the volume refuses.
const DOING: &str = "write the received pack to";

/// An object database that starts empty.
pub struct Store {
    odb: Odb<'static>,
    packs: PathBuf,
    limits: Limits,
    received: u64,
}

impl Store {
    /// An empty store in this folder, which will look like git's `objects`.
    ///
    /// # Errors
    /// [`TransportError::Volume`].
    pub fn create(objects: &Path, limits: Limits) -> Result<Self, TransportError> {
        let packs = objects.join("pack");
        fs::create_dir_all(&packs).map_err(|error| VolumeError::new("create the folder", &packs, error))?;
        let odb = Odb::new().map_err(|error| volume(&packs, &error))?;
        let path = objects.to_string_lossy();
        odb.add_disk_alternate(&path).map_err(|error| volume(&packs, &error))?;
        Ok(Self { odb, packs, limits, received: 0 })
    }

    /// Takes one pack: `receive` is given the sink for its bytes.
    ///
    /// # Errors
    /// What `receive` says, and [`TransportError::Corrupt`] for a pack that is not sound.
    pub fn take<T>(
        &mut self,
        receive: impl FnOnce(&mut dyn PackSink) -> Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        let indexer =
            Indexer::new(None, &self.packs, PACK_MODE, false).map_err(|error| volume(&self.packs, &error))?;
        let mut intake = Intake {
            indexer,
            packs: &self.packs,
            limits: self.limits,
            received: self.received,
            header: Vec::new(),
        };
        let result = receive(&mut intake)?;
        self.received = intake.received;
        // Checks the pack's own checksum, resolves the deltas and hashes what they make.
        intake.indexer.commit().map_err(|error| failed(&self.packs, &error))?;
        self.odb.refresh().map_err(|error| volume(&self.packs, &error))?;
        Ok(result)
    }

    /// The commit that an object is or leads to, with its tree and the committer's time (Unix seconds).
    ///
    /// # Errors
    /// [`RefNotFound::NotACommit`] where it leads elsewhere; `Ok(None)` where the object is not there.
    pub fn commit(&self, oid: Oid, name: &str) -> Result<Option<Commit>, RefNotFound> {
        /// Tags of tags; nobody makes more than two.
        const MAX_TAGS: usize = 10;
        let mut at = oid;
        for _ in 0..MAX_TAGS {
            let Ok(object) = self.odb.read(at) else { return Ok(None) };
            let kind = match object.kind() {
                ObjectType::Commit => return Ok(parse_commit(at, object.data())),
                ObjectType::Tag => {
                    let Some(next) = header(object.data(), b"object ").and_then(crate::oid::parse) else {
                        return Ok(None);
                    };
                    at = next;
                    continue;
                }
                ObjectType::Tree => "tree",
                _ => "file",
            };
            return Err(RefNotFound::NotACommit { name: text::foreign(name), kind });
        }
        Err(RefNotFound::NotACommit { name: text::foreign(name), kind: "tag of tags without end" })
    }

    /// A blob, for writing it out.
    pub fn read_blob(&self, oid: Oid) -> Option<git2::OdbObject<'_>> {
        self.odb.read(oid).ok().filter(|object| object.kind() == ObjectType::Blob)
    }
}

/// What of a commit matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: Oid,
    /// Its tree.
    pub tree: Oid,
    /// When it was committed, in Unix seconds; 0 where it does not say.
    pub time: i64,
}

fn parse_commit(id: Oid, data: &[u8]) -> Option<Commit> {
    let tree = header(data, b"tree ").and_then(crate::oid::parse)?;
    let time = header(data, b"committer ")
        .and_then(|line| line.rsplit(|&b| b == b' ').nth(1))
        .and_then(|seconds| std::str::from_utf8(seconds).ok()?.parse().ok())
        .unwrap_or(0);
    Some(Commit { id, tree, time })
}

/// The value of a header line of a commit or tag.
fn header<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    data.split(|&b| b == b'\n').take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name))
}

impl Objects for Store {
    fn tree(&self, oid: Oid) -> Option<Vec<u8>> {
        let object = self.odb.read(oid).ok().filter(|object| object.kind() == ObjectType::Tree)?;
        Some(object.data().to_vec())
    }

    fn blob_size(&self, oid: Oid) -> Option<u64> {
        let (size, kind) = self.odb.read_header(oid).ok()?;
        (kind == ObjectType::Blob).then_some(size as u64)
    }

    fn blob(&self, oid: Oid) -> Option<Vec<u8>> {
        self.read_blob(oid).map(|object| object.data().to_vec())
    }
}

/// One pack on its way in.
struct Intake<'a> {
    indexer: Indexer<'static>,
    packs: &'a Path,
    limits: Limits,
    received: u64,
    header: Vec<u8>,
}

impl Intake<'_> {
    /// Looks at the number of objects that the pack's header claims: each costs memory.
    fn check_header(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        const HEADER: usize = 12;
        if self.header.len() >= HEADER {
            return Ok(());
        }
        let missing = HEADER - self.header.len();
        self.header.extend(&bytes[..missing.min(bytes.len())]);
        let Some(&[a, b, c, d]) = self.header.get(8..HEADER) else { return Ok(()) };
        let limit = self.limits.files.saturating_mul(2).saturating_add(OTHER_OBJECTS);
        if u64::from(u32::from_be_bytes([a, b, c, d])) > limit {
            return Err(TransportError::TooLarge { limit, unit: "objects", setting: "WORKFLOW_MAX_FILES" });
        }
        Ok(())
    }
}

impl PackSink for Intake<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.received += bytes.len() as u64;
        if self.received > self.limits.bytes {
            let limit = self.limits.bytes;
            return Err(TransportError::TooLarge { limit, unit: "bytes", setting: "WORKFLOW_MAX_BYTES" });
        }
        self.check_header(bytes)?;
        for page in bytes.chunks(PAGE) {
            self.indexer.write_all(page).map_err(|error| {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<git2::Error>());
                match inner {
                    Some(error) => failed(self.packs, error),
                    None => VolumeError::new(DOING, self.packs, error).into(),
                }
            })?;
        }
        Ok(())
    }
}

/// What an error of the indexer means: the volume, or the pack.
fn failed(packs: &Path, error: &git2::Error) -> TransportError {
    if error.class() == git2::ErrorClass::Os {
        volume(packs, error)
    } else {
        TransportError::Corrupt(text::foreign(error.message()))
    }
}

/// libgit2 hides the system's error number, so the volume itself is asked: a file of a few pages shows
/// what is wrong with it.
fn volume(packs: &Path, error: &git2::Error) -> TransportError {
    let probe = packs.join("probe");
    let result = fs::write(&probe, vec![0; 16 * PAGE]);
    // Whatever is left of it goes with the staging folder.
    let _ = fs::remove_file(&probe);
    let error = result.err().unwrap_or_else(|| io::Error::other(text::foreign(error.message())));
    VolumeError::new(DOING, packs, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 10_000, files: 10 };

    fn take(limits: Limits, bytes: &[u8]) -> Result<(), TransportError> {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("objects"), limits).unwrap();
        store.take(|sink| sink.append(bytes))
    }

    fn pack_of(repo: &git2::Repository, oid: Oid) -> Vec<u8> {
        let mut builder = repo.packbuilder().unwrap();
        builder.insert_object(oid, None).unwrap();
        let mut buf = git2::Buf::new();
        builder.write_buf(&mut buf).unwrap();
        buf.to_vec()
    }

    #[test]
    fn what_is_sent_is_found_by_the_hash_of_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init(dir.path().join("repo")).unwrap();
        let blob = repo.blob(b"hello").unwrap();
        let pack = pack_of(&repo, blob);
        let mut store = Store::create(&dir.path().join("objects"), LIMITS).unwrap();
        store.take(|sink| sink.append(&pack)).unwrap();
        assert_eq!(store.blob(blob).as_deref(), Some(&b"hello"[..]));
        assert_eq!(store.blob_size(blob), Some(5));
        assert_eq!(store.tree(blob), None);
    }

    #[test]
    fn a_pack_with_any_byte_changed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init(dir.path()).unwrap();
        let pack = pack_of(&repo, repo.blob(b"hello, hello, hello").unwrap());
        for at in 0..pack.len() {
            let mut bad = pack.clone();
            bad[at] ^= 0x10;
            assert!(take(LIMITS, &bad).is_err(), "byte {at}");
        }
        for end in 0..pack.len() {
            assert!(take(LIMITS, &pack[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn limits_hold_while_it_arrives() {
        let limits = Limits { bytes: 100, ..LIMITS };
        assert!(matches!(take(limits, &[0; 101]), Err(TransportError::TooLarge { unit: "bytes", .. })));
        let header = [&b"PACK\0\0\0\x02"[..], &1_000_000_u32.to_be_bytes()].concat();
        assert!(matches!(take(LIMITS, &header), Err(TransportError::TooLarge { unit: "objects", .. })));
    }

    #[test]
    fn reads_what_matters_of_a_commit() {
        let id = crate::oid::parse("1".repeat(40).as_bytes()).unwrap();
        let data =
            format!("tree {id}\nauthor A <a@b> 1 +0000\ncommitter C D <c@d> 1700000000 +0100\n\ntree x");
        let commit = parse_commit(id, data.as_bytes()).unwrap();
        assert_eq!((commit.tree, commit.time), (id, 1_700_000_000));
        assert_eq!(parse_commit(id, b"\ntree x"), None);
    }
}
