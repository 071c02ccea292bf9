//! git's index of a pack (`.idx`, version 2), as `gitformat-pack(5)` describes it. Pure.

use git2::ObjectFormat;

use super::Pack;
use super::hash::ChecksumHasher;

/// Offsets from here on are in a separate table.
const LARGE: u64 = 1 << 31;

/// Returns the content of the index.
pub fn of(pack: &Pack, format: ObjectFormat) -> Vec<u8> {
    let sorted = || pack.by_id.iter().map(|&at| &pack.entries[at as usize]);
    let mut out = Vec::with_capacity(8 + 1024 + pack.entries.len() * 40 + 64);
    out.extend(b"\xfftOc\0\0\0\x02");
    let mut counts = [0_u32; 256];
    for entry in sorted() {
        counts[usize::from(entry.oid.as_bytes()[0])] += 1;
    }
    let mut sum = 0;
    for count in counts {
        sum += count;
        out.extend(sum.to_be_bytes());
    }
    sorted().for_each(|entry| out.extend(entry.oid.as_bytes()));
    sorted().for_each(|entry| out.extend(entry.crc.to_be_bytes()));
    let mut large = Vec::new();
    for entry in sorted() {
        let offset = match u32::try_from(entry.offset) {
            Ok(offset) if entry.offset < LARGE => offset,
            _ => {
                large.extend(entry.offset.to_be_bytes());
                1 << 31 | u32::try_from(large.len() / 8 - 1).unwrap_or_default()
            }
        };
        out.extend(offset.to_be_bytes());
    }
    out.extend(large);
    out.extend(&pack.checksum);
    let mut hasher = ChecksumHasher::new(format);
    hasher.update(&out);
    out.extend(hasher.finish());
    out
}
