//! git is the reference: for signatures made by git, ssh-keygen and gpg, the verdict is that of `git verify-commit` and
//! `git verify-tag` with the same keys. Differences are listed in `docs/design.md` and named here by `stricter`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod certificates;
mod objects;
mod openpgp;
mod openpgp_keys;
mod security_keys;
mod ssh;
mod world;
