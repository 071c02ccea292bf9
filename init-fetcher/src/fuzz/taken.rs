//! A pack taken in as a run takes it, and looked at object by object.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Limits;
use crate::pack::Pack;
use crate::pack::entry::ObjectKind;
use crate::pack::intake::{self, PackFiles};
use crate::pack::{PackError, PackSink};
use git2::{ObjectType, Oid};

/// Takes a pack in, with the contents of files spooled or not, and checks that each object has the id of
/// its bytes; gives all ids. `dir` is left as it was.
pub fn take<E: From<PackError>>(
    dir: &Path,
    limits: Limits,
    spooled: bool,
    receive: impl FnOnce(&mut dyn PackSink) -> Result<(), E>,
) -> Result<Vec<Oid>, E> {
    let (pack, spool, scratch) = (dir.join("pack"), dir.join("spool"), dir.join("scratch"));
    for directory in [&spool, &scratch] {
        fs::create_dir(directory).unwrap();
    }
    let files = PackFiles {
        format: git2::ObjectFormat::Sha1,
        pack: &pack,
        spool: spooled.then_some(&spool),
        scratch: &scratch,
    };
    let taken = intake::take(&files, limits, &mut 0, &|| (), receive).map(|((), pack)| {
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "scratch files are left");
        check(&pack, spooled.then_some(&spool), &scratch)
    });
    fs::remove_file(&pack).unwrap();
    for directory in [&spool, &scratch] {
        fs::remove_dir_all(directory).unwrap();
    }
    taken
}

fn check(pack: &Pack, spool: Option<&PathBuf>, scratch: &Path) -> Vec<Oid> {
    let mut ids = Vec::new();
    for (position, entry) in (0_u32..).zip(&pack.entries) {
        let data = pack.read(position, None, &scratch.join("read")).unwrap().memory.unwrap();
        let kind = match entry.kind.unwrap() {
            ObjectKind::Commit => ObjectType::Commit,
            ObjectKind::Tree => ObjectType::Tree,
            ObjectKind::Blob => ObjectType::Blob,
            ObjectKind::Tag => ObjectType::Tag,
        };
        assert_eq!(Oid::hash_object(kind, &data).unwrap(), entry.oid);
        assert_eq!(data.len() as u64, entry.size);
        let spool = spool.filter(|_| kind == ObjectType::Blob);
        assert_eq!(entry.spooled, spool.is_some());
        if let Some(spool) = spool {
            assert!(fs::read(spool.join(position.to_string())).unwrap() == data);
        }
        assert_eq!(pack.find(entry.oid).map(|at| pack.entries[at as usize].oid), Some(entry.oid));
        ids.push(entry.oid);
    }
    ids
}
