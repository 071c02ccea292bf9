//! Any bytes as lists of keys, signatures and signed objects.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| init_fetcher::fuzz::signatures(bytes));
