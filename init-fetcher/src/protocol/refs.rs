//! Refs as they are listed, within bounds: a listing is kept in memory, however long a server makes it.

use super::{ProtocolError, Ref};

/// Bytes that a listing may cost: some 400,000 refs of common length.
const MAX_BYTES: usize = 64 << 20;

/// A listing while it comes in.
#[derive(Default)]
pub struct Refs {
    all: Vec<Ref>,
    bytes: usize,
}

impl Refs {
    /// Takes the next ref.
    ///
    /// # Errors
    /// [`ProtocolError::Excessive`].
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

    /// The last one that came.
    pub fn last_mut(&mut self) -> Option<&mut Ref> {
        self.all.last_mut()
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Ref> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_without_end_is_refused_and_one_of_many_refs_is_not() {
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
