//! The stand-in for a session's runner, as a small static program.
//!
//! It answers one question for the tests: what was on disk at the runner's first instruction? So `main` takes the
//! [`Record`] before anything else, and [`serve`] hands it out afterwards; nothing that appears later can enter it.
//! The same image stands for the platform's other two containers, which do nothing that the tests need.
//!
//! The record holds the values of a few harmless variables only, and just the names of the others: session pods carry
//! secrets in their environment.
//!
//! A crate of its own, so that the image is built without a Kubernetes client; the readers of [`Record`] are in
//! `workflow-tests`.

mod listing;
mod record;
mod serve;

pub use listing::{Entry, Kind, list};
pub use record::{Post, Record, VALUES, WORKFLOWS, take};
pub use serve::{PORT, router, serve, until_stopped};
