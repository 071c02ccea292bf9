//! Any bytes as trees: what is accepted stays inside the directory that it is written to.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").unwrap());

fuzz_target!(|bytes: &[u8]| init_fetcher::fuzz::trees(bytes, DIR.path()));
