//! Access to the API server, and the election of a leader through it.

pub mod client;
pub mod leader;
pub mod metadata;
