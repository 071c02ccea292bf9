//! Any bytes as what a git server sends: listings, capabilities, responses to a fetch, packs.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").unwrap());

fuzz_target!(|bytes: &[u8]| init_fetcher::fuzz::wire(bytes, DIR.path()));
