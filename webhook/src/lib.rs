//! Delivers workflows to session pods: the admission webhook that injects the init container, and
//! the status controller that tells the session what became of it.
//!
//! ```text
//! AdmissionReview -> admission (review -> lookup -> plan -> patch) -> AdmissionReview
//! pod, session    -> status (outcome -> condition -> write)     -> AgenticSession
//! ```
//!
//! `plan`, `patch`, `outcome` and `condition` are functions without I/O, clock or global state; the
//! rest feeds them.

pub mod admission;
pub mod cli;
pub mod config;
pub mod kube;
pub mod metrics;
pub mod registration;
pub mod reload;
pub mod replica;
pub mod server;
pub mod session;
pub mod status;
pub mod telemetry;
