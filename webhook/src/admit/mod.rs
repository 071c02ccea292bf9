//! Admission.
pub mod json;
pub mod patch;
pub mod plan;
