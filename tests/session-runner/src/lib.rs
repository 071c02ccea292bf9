//! A fake of a session's runner, as a small static program.
//!
//! It records the workflow directory at the runner's first instruction: `main` takes the [`Record`] before anything
//! else, and [`serve`] serves it afterwards. It implements the platform's own `POST /workflow` with its faults. The same
//! image stands for the platform's other two containers.
//!
//! The record holds the values of a few harmless variables only, and just the names of the others: session pods carry
//! secrets in their environment.
//!
//! A crate of its own, so that the image is built without a Kubernetes client.

mod listing;
mod record;
mod serve;
mod workflow;

pub use listing::{FileEntry, FileKind, list};
pub use record::{Post, Record, VALUES, WORKFLOWS, take};
pub use serve::{PORT, Settings, router, serve, until_stopped};
pub use workflow::Source;
