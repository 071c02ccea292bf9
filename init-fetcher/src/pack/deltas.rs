//! Resolves all deltas of a pack, bases before their deltas, each object once.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use git2::Oid;

use super::Checkpoint;
use super::PackEntry;
use super::PackError;
use super::entry::{ObjectKind, corrupt};
use super::object::{Content, LFS_POINTER, ObjectWriter, is_lfs_pointer, spooled};
use super::read::{Reader, Target};
use super::scan::{Scanned, check_size};
use crate::config::Limits;

/// Resolves every delta to an object id and spools the blobs among the results. Bases that do not fit into
/// memory are written to files in `scratch`.
pub fn make(
    file: &File,
    scanned: Scanned,
    spool: Option<&Path>,
    scratch: &Path,
    limits: Limits,
    checkpoint: Checkpoint,
) -> Result<Vec<PackEntry>, PackError> {
    let mut deltas = Deltas::new(file, scanned, spool, scratch, limits);
    for root in 0..deltas.entries.len() {
        if deltas.entries[root].kind.is_some() && deltas.entries[root].base.is_none() {
            deltas.resolve(root, checkpoint)?;
        }
    }
    if deltas.entries.iter().any(|entry| entry.kind.is_none()) {
        return Err(PackError::Corrupt(
            "it has a delta without its base, as a thin pack has, although nothing was offered as a base"
                .into(),
        ));
    }
    Ok(deltas.entries)
}

struct Deltas<'a> {
    reader: Reader<'a>,
    entries: Vec<PackEntry>,
    /// Positions of base and delta, sorted.
    by_position: Vec<(u32, u32)>,
    /// Deltas by the id of their base.
    by_id: HashMap<Oid, Vec<u32>>,
    spool: Option<&'a Path>,
    scratch: &'a Path,
    limits: Limits,
    /// Bytes of all bases in memory.
    held: u64,
}

/// A base and its deltas that are not resolved yet.
struct DeltaBase {
    content: Content,
    size: u64,
    kind: ObjectKind,
    base: u32,
    deltas: Vec<u32>,
}

impl<'a> Deltas<'a> {
    fn new(
        file: &'a File,
        scanned: Scanned,
        spool: Option<&'a Path>,
        scratch: &'a Path,
        limits: Limits,
    ) -> Self {
        let mut by_position: Vec<(u32, u32)> = (0..)
            .zip(&scanned.entries)
            .filter_map(|(position, entry)| entry.base.map(|base| (base, position)))
            .collect();
        by_position.sort_unstable();
        let mut by_id: HashMap<Oid, Vec<u32>> = HashMap::new();
        for (id, position) in scanned.by_id {
            by_id.entry(id).or_default().push(position);
        }
        let reader = Reader::new(file);
        Self { reader, entries: scanned.entries, by_position, by_id, spool, scratch, limits, held: 0 }
    }

    /// Resolves all direct and indirect deltas of this object.
    fn resolve(&mut self, root: usize, checkpoint: Checkpoint) -> Result<(), PackError> {
        let deltas = self.deltas_of(root);
        if deltas.is_empty() {
            return Ok(());
        }
        let entry = self.entries[root];
        let kind = entry.kind.ok_or_else(|| corrupt("a delta's base"))?;
        let content = if entry.spooled && !Content::fits(entry.size, self.held) {
            Content::File(self.spooled(root))
        } else {
            let target = self.target(root, false);
            let written =
                self.reader.whole(&entry, target.writer(entry.oid.object_format(), kind, entry.size)?)?;
            target.content(written)?
        };
        let mut bases = vec![self.start(content, root, kind, deltas)?];
        while let Some(mut base_object) = bases.pop() {
            let Some(delta) = base_object.deltas.pop() else {
                self.held -= base_object.content.held();
                continue;
            };
            checkpoint();
            let written = self.delta(delta as usize, &base_object)?;
            if base_object.deltas.is_empty() {
                // Dropped before the deltas of its last delta are resolved, so that a long chain needs little memory.
                self.held -= base_object.content.held();
            } else {
                bases.push(base_object);
            }
            bases.extend(written);
        }
        Ok(())
    }

    fn start(
        &mut self,
        content: Content,
        position: usize,
        kind: ObjectKind,
        deltas: Vec<u32>,
    ) -> Result<DeltaBase, PackError> {
        self.held += content.held();
        let base = u32::try_from(position).map_err(|_| corrupt("the number of objects"))?;
        Ok(DeltaBase { content, size: self.entries[position].size, kind, base, deltas })
    }

    /// Resolves one delta; returns it as a base if it has deltas itself.
    fn delta(&mut self, position: usize, base_object: &DeltaBase) -> Result<Option<DeltaBase>, PackError> {
        let (entry, kind) = (self.entries[position], base_object.kind);
        check_size(kind, entry.size, self.limits)?;
        let spool = self.spool.is_some() && kind == ObjectKind::Blob;
        let may_be_base = self.is_base(position) || !self.by_id.is_empty();
        let short = kind == ObjectKind::Blob && entry.size < LFS_POINTER;
        let target = self.target(position, spool);
        let keep = short || (may_be_base && Content::fits(entry.size, self.held));
        let file = target.file().filter(|_| spool || may_be_base);
        let writer = ObjectWriter::new(entry.oid.object_format(), kind, entry.size, keep, file)?;
        let written = self.reader.delta(&entry, &base_object.content, base_object.size, writer)?;
        let entry = &mut self.entries[position];
        (entry.oid, entry.kind, entry.base, entry.spooled) =
            (written.oid, Some(kind), Some(base_object.base), spool);
        entry.lfs_pointer = short && written.memory.as_deref().is_some_and(is_lfs_pointer);
        let deltas = self.deltas_of(position);
        if deltas.is_empty() && !may_be_base {
            return Ok(None);
        }
        let content = match written.memory {
            Some(memory) => Content::Memory(memory),
            None => target.content(written)?,
        };
        if deltas.is_empty() {
            // Dropping `content` removes a file that was only written in case the object is a base.
            return Ok(None);
        }
        self.start(content, position, kind, deltas).map(Some)
    }

    /// Returns the destination of an object that is a base.
    fn target(&self, position: usize, spool: bool) -> Target {
        if spool {
            Target::File(self.spooled(position))
        } else if Content::fits(self.entries[position].size, self.held) {
            Target::Memory
        } else {
            Target::Scratch(self.scratch.join(format!("base-{position}")))
        }
    }

    fn spooled(&self, position: usize) -> std::path::PathBuf {
        spooled(self.spool.unwrap_or(self.scratch), position)
    }

    fn is_base(&self, position: usize) -> bool {
        self.range(position).next().is_some()
    }

    fn deltas_of(&mut self, position: usize) -> Vec<u32> {
        let mut deltas: Vec<u32> = self.range(position).collect();
        deltas.extend(self.by_id.remove(&self.entries[position].oid).unwrap_or_default());
        deltas
    }

    fn range(&self, position: usize) -> impl Iterator<Item = u32> {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let start = self.by_position.partition_point(|&(base, _)| base < position);
        self.by_position[start..].iter().take_while(move |&&(base, _)| base == position).map(|&(_, at)| at)
    }
}
