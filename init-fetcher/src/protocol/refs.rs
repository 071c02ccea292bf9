//! A list of refs with a limit on its memory.

use super::{ProtocolError, Ref};

/// Maximum bytes of a list: about 400,000 refs of usual length.
const MAX_BYTES: usize = 64 << 20;

/// A list that is being received.
#[derive(Default)]
pub struct Refs {
    all: Vec<Ref>,
    bytes: usize,
}

impl Refs {
    pub fn put(&mut self, found: Ref) -> Result<(), ProtocolError> {
        self.bytes += size_of::<Ref>() + found.name.len() + found.target.as_ref().map_or(0, String::len);
        if self.bytes > MAX_BYTES {
            return Err(ProtocolError::Excessive {
                limit: MAX_BYTES as u64,
                unit: "bytes of branches and tags",
            });
        }
        self.all.push(found);
        Ok(())
    }

    pub fn last_mut(&mut self) -> Option<&mut Ref> {
        self.all.last_mut()
    }

    pub fn into_vec(self) -> Vec<Ref> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_lists_without_end() {
        let oid = git2::Oid::from_bytes(&[7; 20]).unwrap();
        let listed = |count: usize, length| {
            let mut refs = Refs::default();
            let name = format!("refs/heads/{}", "x".repeat(length));
            (0..count).try_for_each(|_| refs.put(Ref { name: name.clone(), oid, peeled: None, target: None }))
        };
        assert!(listed(300_000, 20).is_ok());
        assert!(matches!(listed(2000, 60_000), Err(ProtocolError::Excessive { .. })));
        assert!(matches!(listed(1_000_000, 0), Err(ProtocolError::Excessive { .. })));
    }
}
