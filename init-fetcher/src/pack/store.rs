//! Received packs and lookup of their objects.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::entry::ObjectKind;
use super::intake::{self, PackFiles};
use super::object::spooled;
use super::{Objects, Pack, PackEntry, index};
use super::{PackError, PackSink};
use crate::config::Limits;
use crate::volume::VolumeError;
use git2::{ObjectFormat, Oid};

/// Mode of pack indexes, as with git.
const INDEX_MODE: u32 = 0o444;

/// This many times the limit on bytes may be read from packs in total. Reading the last object of a chain of
/// 50 deltas, git's maximum, reads all of them; an unbounded chain would take unbounded time.
const READ_BACK: u64 = 64;
/// Bytes that may always be read from packs.
const READ_BACK_ANYWAY: u64 = 64 << 20;

/// The packs of one attempt.
pub struct Store<'a> {
    packs: Vec<Pack>,
    directory: PathBuf,
    /// Directory of spooled blobs and temporary files.
    scratch: PathBuf,
    format: ObjectFormat,
    limits: Limits,
    checkpoint: Checkpoint<'a>,
    received: u64,
    /// Blobs that were moved from the spool, with their path; further files of the same content are copies.
    moved: RefCell<HashMap<(usize, u32), PathBuf>>,
    scratches: Cell<u64>,
    /// Cost of all objects read from packs so far.
    read_back: Cell<u64>,
}

/// Spooling of a pack's blobs to files while it is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolBlobs {
    /// All: most of them are delivered.
    All,
    /// None: few of them are delivered.
    None,
}

impl<'a> Store<'a> {
    /// Creates both directories, which must be on the volume of the delivery.
    pub fn create(
        packs: &Path,
        scratch: &Path,
        format: ObjectFormat,
        limits: Limits,
        checkpoint: Checkpoint<'a>,
    ) -> Result<Self, PackError> {
        for directory in [packs, scratch] {
            make_directory(directory)?;
        }
        Ok(Self {
            packs: Vec::new(),
            directory: packs.to_owned(),
            scratch: scratch.to_owned(),
            format,
            limits,
            checkpoint,
            received: 0,
            moved: RefCell::default(),
            scratches: Cell::default(),
            read_back: Cell::default(),
        })
    }

    /// Counts what is received on top of what other repositories of the run sent.
    pub fn count_from(&mut self, received: u64) {
        self.received = received;
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Receives one pack; `receive` writes its bytes to the sink.
    pub fn take<T, E: From<PackError>>(
        &mut self,
        spool_blobs: SpoolBlobs,
        receive: impl FnOnce(&mut dyn PackSink) -> Result<T, E>,
    ) -> Result<T, E> {
        let number = self.packs.len();
        let spool = self.spool(number);
        if spool_blobs == SpoolBlobs::All {
            make_directory(&spool).map_err(PackError::from)?;
        }
        let files = PackFiles {
            format: self.format,
            pack: &self.directory.join(format!("receiving-{number}")),
            spool: (spool_blobs == SpoolBlobs::All).then_some(&spool),
            scratch: &self.scratch,
        };
        let taken = intake::take(&files, self.limits, &mut self.received, self.checkpoint, receive);
        if taken.is_err() {
            // After a rejected request there is another one, which uses the same name.
            let _ = fs::remove_file(files.pack);
        }
        let (result, pack) = taken?;
        self.packs.push(pack);
        Ok(result)
    }

    /// Writes the index of every pack and renames the packs as git expects.
    pub fn write_indexes(&self) -> Result<(), VolumeError> {
        for pack in &self.packs {
            let id = Oid::from_bytes(&pack.checksum).map_or_else(|_| String::new(), |id| id.to_string());
            let path = self.directory.join(format!("pack-{id}.idx"));
            let failed = |error| VolumeError::new("write", &path, error);
            fs::write(&path, index::of(pack, self.format)).map_err(failed)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(INDEX_MODE)).map_err(failed)?;
            let path = path.with_extension("pack");
            fs::rename(&pack.path, &path).map_err(|error| VolumeError::new("write", &path, error))?;
        }
        Ok(())
    }

    fn spool(&self, number: usize) -> PathBuf {
        self.scratch.join(format!("spool-{number}"))
    }

    fn find(&self, oid: Oid) -> Option<(usize, u32, &PackEntry)> {
        // The last pack first: its blobs are spooled, even if an earlier pack contains them too.
        self.packs.iter().enumerate().rev().find_map(|(number, pack)| {
            let position = pack.find(oid)?;
            Some((number, position, &pack.entries[position as usize]))
        })
    }

    fn find_kind(&self, oid: Oid, kind: ObjectKind) -> Option<(usize, u32, &PackEntry)> {
        self.find(oid).filter(|(_, _, entry)| entry.kind == Some(kind))
    }

    fn read(&self, number: usize, position: u32, file: Option<&Path>) -> Result<Option<Vec<u8>>, PackError> {
        self.read_back.set(self.read_back.get().saturating_add(self.packs[number].cost(position)));
        let limit = self.limits.bytes.saturating_mul(READ_BACK).saturating_add(READ_BACK_ANYWAY);
        if self.read_back.get() > limit {
            return Err(PackError::Excessive { limit, unit: "bytes while resolving deltas" });
        }
        self.scratches.set(self.scratches.get() + 1);
        let scratch = self.scratch.join(format!("read-{}", self.scratches.get()));
        Ok(self.packs[number].read(position, file, &scratch)?.memory)
    }

    fn read_kind(&self, oid: Oid, kind: ObjectKind) -> Result<Option<Vec<u8>>, PackError> {
        match self.find_kind(oid, kind) {
            Some((number, position, _)) => self.read(number, position, None),
            None => Ok(None),
        }
    }

    /// Moves or writes a blob to a new file. Returns whether it is a Git LFS pointer, `None` if it was not
    /// received.
    pub fn deliver(&self, oid: Oid, path: &Path) -> Result<Option<bool>, PackError> {
        let Some((number, position, entry)) = self.find_kind(oid, ObjectKind::Blob) else { return Ok(None) };
        if !entry.spooled {
            self.read(number, position, Some(path))?;
            return Ok(Some(entry.lfs_pointer));
        }
        let failed = |error| VolumeError::new("write", path, error);
        match self.moved.borrow_mut().entry((number, position)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let from = spooled(&self.spool(number), position as usize);
                fs::rename(from, path).map_err(failed)?;
                vacant.insert(path.to_owned());
            }
            std::collections::hash_map::Entry::Occupied(moved) => copy(moved.get(), path).map_err(failed)?,
        }
        Ok(Some(entry.lfs_pointer))
    }

    /// Returns an object's kind and content; `None` if it was not received.
    pub fn object(&self, oid: Oid) -> Result<Option<(ObjectKind, Vec<u8>)>, PackError> {
        let Some((number, position, entry)) = self.find(oid) else { return Ok(None) };
        let content = self.read(number, position, None)?;
        Ok(entry.kind.zip(content))
    }

    /// Returns the commit that an object is or that a tag points to; `Ok(None)` if an object is missing.
    pub fn commit(&self, oid: Oid) -> Result<Option<Commit>, CommitError> {
        /// Maximum length of a chain of tags; more than two are unusual.
        const MAX_TAGS: usize = 10;
        let mut at = oid;
        for _ in 0..MAX_TAGS {
            let Some((number, position, entry)) = self.find(at) else { return Ok(None) };
            let kind = match entry.kind {
                Some(ObjectKind::Tree) => "tree",
                Some(ObjectKind::Blob) | None => "file",
                Some(found @ (ObjectKind::Commit | ObjectKind::Tag)) => {
                    let Some(data) = self.read(number, position, None)? else { return Ok(None) };
                    if found == ObjectKind::Commit {
                        return Ok(parse_commit(at, &data));
                    }
                    let Some(next) = header(&data, b"object ").and_then(crate::oid::parse) else {
                        return Ok(None);
                    };
                    at = next;
                    continue;
                }
            };
            return Err(CommitError::NotACommit { kind });
        }
        Err(CommitError::NotACommit { kind: "tag chain deeper than 10" })
    }
}

fn make_directory(directory: &Path) -> Result<(), VolumeError> {
    fs::create_dir_all(directory).map_err(|error| VolumeError::new("create the directory", directory, error))
}

/// Copies to a new file; never follows or replaces an existing one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    io::copy(&mut from, &mut File::options().write(true).create_new(true).open(to)?)?;
    Ok(())
}

/// Reason for which an object could not be resolved to a commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The object is neither a commit nor a tag of one.
    #[error("it is a {kind}")]
    NotACommit { kind: &'static str },
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// The parts of a commit that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub id: Oid,
    pub tree: Oid,
    /// Committer's time in Unix seconds; 0 if missing.
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

/// Returns the value of a header line of a commit or tag.
fn header<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    data.split(|&b| b == b'\n').take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name))
}

impl Objects for Store<'_> {
    fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        self.read_kind(oid, ObjectKind::Tree)
    }

    fn blob_size(&self, oid: Oid) -> Option<u64> {
        self.find_kind(oid, ObjectKind::Blob).map(|(_, _, entry)| entry.size)
    }

    fn blob(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
        self.read_kind(oid, ObjectKind::Blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 10_000, files: 10 };

    fn take(limits: Limits, bytes: &[u8]) -> Result<(), PackError> {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(dir.path(), dir.path(), ObjectFormat::Sha1, limits, &|| ()).unwrap();
        store.take(SpoolBlobs::All, |sink| sink.append(bytes))
    }

    fn pack_of(repo: &git2::Repository, oid: Oid) -> Vec<u8> {
        let mut builder = repo.packbuilder().unwrap();
        builder.insert_object(oid, None).unwrap();
        let mut buf = git2::Buf::new();
        builder.write_buf(&mut buf).unwrap();
        buf.to_vec()
    }

    #[test]
    fn finds_objects_by_the_hash_of_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init(dir.path().join("repo")).unwrap();
        let blob = repo.blob(b"hello").unwrap();
        let pack = pack_of(&repo, blob);
        let directory = dir.path().join("store");
        let mut store = Store::create(&directory, &directory, ObjectFormat::Sha1, LIMITS, &|| ()).unwrap();
        store.take(SpoolBlobs::All, |sink| sink.append(&pack)).unwrap();
        assert_eq!(store.blob(blob).unwrap().as_deref(), Some(&b"hello"[..]));
        assert_eq!(store.blob_size(blob), Some(5));
        assert_eq!(store.tree(blob).unwrap(), None);
    }

    #[test]
    fn rejects_a_pack_with_any_byte_changed() {
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
        assert!(matches!(take(limits, &[0; 101]), Err(PackError::TooLarge { unit: "bytes", .. })));
        let header = [&b"PACK\0\0\0\x02"[..], &1_000_000_u32.to_be_bytes()].concat();
        assert!(matches!(take(LIMITS, &header), Err(PackError::TooLarge { unit: "objects", .. })));
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
