//! Admission: AdmissionReview in, AdmissionReview out.
//!
//! ```text
//! body -> review -> plan::owner -> lookup -> plan::decide -> patch -> review -> body
//! ```
//!
//! `review`, `plan` and `patch` are pure; `handler` and `lookup` do the I/O.

mod handler;
mod json;
pub mod lookup;
pub mod patch;
pub mod plan;
pub mod review;

pub use handler::{Admission, MAX_BODY, REVIEW_TIMEOUT};
