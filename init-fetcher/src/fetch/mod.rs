//! A run: attempts from listing to publishing.

pub mod deliver;
pub mod failure;
mod receive;
pub mod repository;
pub mod resolve;
pub mod signed;
pub mod submodules;
pub mod totals;
