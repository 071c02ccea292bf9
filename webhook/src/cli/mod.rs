//! Commands for a person at a terminal.

pub mod check;
pub mod cleanup;
pub mod render;
