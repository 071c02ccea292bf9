//! Deliveries from server software that is not git's own. `git clone` from the same server is the reference.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod http;
mod ssh;
