//! Cost of SHA-1 with collision detection, beside SHA-1 without and SHA-256.

use std::hint::black_box;
use std::time::Instant;

const BYTES: usize = 100 << 20;

/// Hashes the same bytes with each function; medians of `rounds`.
pub fn measure(rounds: usize) -> String {
    let bytes = vec![7; BYTES];
    let time = |hash: &dyn Fn()| {
        let mut seconds: Vec<f64> = (0..rounds.max(1))
            .map(|_| {
                let began = Instant::now();
                hash();
                began.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2] * 1000.0
    };
    let checked = time(&|| {
        let _ = black_box(sha1_checked::Sha1::try_digest(&bytes));
    });
    let plain = time(&|| {
        let _ = black_box(<sha1::Sha1 as sha1::Digest>::digest(&bytes));
    });
    let sha256 = time(&|| {
        let _ = black_box(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    });
    format!(
        "Hashing {} MiB: SHA-1 with collision detection {checked:.0} ms, without {plain:.0} ms, SHA-256 {sha256:.0} ms",
        BYTES >> 20
    )
}
