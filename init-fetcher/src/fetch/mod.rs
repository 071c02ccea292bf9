//! A run: attempts from listing to publishing. Imports go from left to right.
//!
//! ```text
//!  deliver -> recurse -> repository -> submodules -> receive -> failure, totals -> signed -> resolve, attempt
//! ```

mod attempt;
pub mod deliver;
pub mod failure;
mod receive;
mod recurse;
mod repository;
pub mod resolve;
mod signed;
mod submodules;
mod totals;
