//! A run: attempts from listing to publishing.

pub mod deliver;
pub mod failure;
pub mod resolve;
