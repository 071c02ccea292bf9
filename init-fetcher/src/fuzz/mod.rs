//! The claims that the fuzzers of `fuzz/` check, for any input.
//!
//! Compiled for them (cargo-fuzz sets `fuzzing`) and for the test below only, so that nothing has to be
//! public for their sake.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a broken claim is a panic")]

pub(crate) mod generated_pack;
mod signatures;
pub(crate) mod taken;
mod trees;
mod wire;

pub use signatures::signatures;
pub use trees::trees;
pub use wire::wire;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Gives every file of a directory of seeds to a fuzzer; how many there are.
    fn replay(name: &str, fuzzer: fn(&[u8], &Path)) -> usize {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
        let dir = tempfile::tempdir().unwrap();
        let seeds: Vec<_> = fs::read_dir(directory).unwrap().map(|seed| seed.unwrap().path()).collect();
        for seed in &seeds {
            fuzzer(&fs::read(seed).unwrap(), dir.path());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        seeds.len()
    }

    #[test]
    fn fuzzers_pass_on_their_seeds() {
        assert!(replay("wire", super::wire) > 0);
        assert!(replay("trees", super::trees) > 0);
        assert!(replay("signatures", |bytes, _| super::signatures(bytes)) > 0);
    }
}
