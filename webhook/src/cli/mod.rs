//! Commands for a person at a terminal.

pub mod render;
