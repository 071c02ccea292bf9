//! Whole packs through the whole of it: deltas by name and by distance, small and large.

use std::path::Path;
use std::time::Duration;

use git2::{ObjectType, Oid};

use super::PackError;
use crate::config::Limits;
use crate::fuzz::generated_pack::{Entry, EntryKind, GeneratedPack};
use crate::fuzz::taken::take;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 64 << 20, files: 100 };

fn whole(content: Vec<u8>) -> Entry {
    Entry { kind: EntryKind::Whole(ObjectType::Blob), content, raw: false }
}

fn delta(kind: EntryKind, instructions: &[Vec<u8>]) -> Entry {
    Entry { kind, content: instructions.concat(), raw: false }
}

fn insert(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn copy(offset: u32, length: u32) -> Vec<u8> {
    [&[0xff][..], &offset.to_le_bytes(), &length.to_le_bytes()[..3]].concat()
}

/// Bytes without repetitions.
fn bytes(length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect()
}

/// Asserts that every object of this pack is read with its id, spooled or not.
fn assert_read(entries: Vec<Entry>) {
    let generated = GeneratedPack { entries };
    let (objects, pack) = (generated.objects().unwrap(), generated.pack());
    for spooled in [true, false] {
        assert_eq!(taken(&pack, spooled).unwrap(), objects, "spooled: {spooled}");
    }
}

fn taken(pack: &[u8], spooled: bool) -> Result<Vec<Oid>, PackError> {
    taken_within(LIMITS, pack, spooled)
}

fn taken_within(limits: Limits, pack: &[u8], spooled: bool) -> Result<Vec<Oid>, PackError> {
    let dir = tempfile::tempdir().unwrap();
    let taken = take(dir.path(), limits, spooled, |sink| sink.append(pack));
    assert!(is_empty(dir.path()));
    taken
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn a_base_is_found_by_its_name_wherever_it_is() {
    assert_read(vec![
        delta(EntryKind::Named(1), &[copy(0, 4), insert(b"before it")]),
        whole(b"0123456789".to_vec()),
        delta(EntryKind::Named(1), &[insert(b"after it"), copy(5, 5)]),
        // A delta to an object that is itself a delta, before and after it.
        delta(EntryKind::Named(0), &[copy(2, 8)]),
        delta(EntryKind::Named(5), &[copy(0, 2)]),
        delta(EntryKind::Named(2), &[copy(0, 3), insert(b"!")]),
        delta(EntryKind::Before(1), &[copy(0, 1), copy(0, 1)]),
    ]);
}

#[test]
fn a_directory_on_the_way_may_hold_more_than_may_be_delivered() {
    let directory =
        |size| Entry { kind: EntryKind::Whole(ObjectType::Tree), content: vec![7; size], raw: false };
    let limits = Limits { files: 1, ..LIMITS };
    let taken = |size| taken_within(limits, &GeneratedPack { entries: vec![directory(size)] }.pack(), false);
    assert!(taken(500_000).is_ok());
    assert!(matches!(taken(2 << 20), Err(PackError::TooLarge { setting: "WORKFLOW_MAX_FILES", .. })));
}

#[test]
fn two_objects_of_one_content_are_one_base() {
    assert_read(vec![
        whole(b"same".to_vec()),
        whole(b"same".to_vec()),
        delta(EntryKind::Named(1), &[copy(0, 4), insert(b"1")]),
        delta(EntryKind::Before(2), &[copy(0, 4), insert(b"2")]),
    ]);
}

#[test]
fn rejects_a_delta_without_its_base() {
    for entries in [
        vec![delta(EntryKind::Named(0), &[insert(b"of itself")])],
        vec![delta(EntryKind::Named(1), &[insert(b"a")]), delta(EntryKind::Named(0), &[insert(b"b")])],
    ] {
        let pack = GeneratedPack { entries }.pack();
        let error = taken(&pack, true).unwrap_err();
        assert!(error.to_string().contains("a delta without its base"), "{error}");
    }
}

#[test]
fn bases_that_are_larger_than_any_piece_are_copied_from_anywhere() {
    let large = bytes(3 << 20);
    let end = u32::try_from(large.len()).unwrap();
    let everywhere =
        [copy(end - 1, 1), copy(0, 1), copy((64 << 10) - 1, 3), copy(1 << 20, 1 << 20), copy(end - 9, 9)];
    assert_read(vec![
        whole(large),
        delta(EntryKind::Named(0), &everywhere),
        delta(EntryKind::Before(2), &[copy(end - (1 << 17), 1 << 17), copy(0, 2)]),
        // A delta to a delta whose result is itself too large for memory, in both orders.
        delta(EntryKind::Named(1), &[copy(1 << 19, 5), insert(b"between"), copy(3, (1 << 20) + 1)]),
        delta(EntryKind::Before(1), &[copy((1 << 20) - 1, 9), copy(0, 7)]),
    ]);
}

#[test]
fn bases_that_do_not_fit_into_memory_together_are_held_in_files() {
    let mut entries = vec![whole(bytes(900_000))];
    for n in 0..6_u8 {
        // The next base is resolved before the other deltas to this one: all of them are open at once.
        let base = entries.len().saturating_sub(2);
        entries.push(delta(EntryKind::Named(base), &[copy(0, 900_000), insert(&[n])]));
        entries.push(delta(EntryKind::Before(1), &[copy(899_990, 10), insert(b"leaf"), insert(&[n])]));
    }
    assert_read(entries);
}

#[test]
fn removes_files_of_unused_bases() {
    let large = bytes(1_200_000);
    assert_read(vec![
        delta(EntryKind::Named(2), &[copy(0, 10)]),
        whole(large),
        delta(EntryKind::Before(1), &[copy(2, 1_199_998)]),
        delta(EntryKind::Before(2), &[copy(1, 1_199_999)]),
    ]);
}
