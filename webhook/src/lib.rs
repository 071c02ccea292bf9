//! Delivers workflows to session pods: the admission webhook injects the init container, and the status controller reports
//! the outcome on the session.
//!
//! ```text
//! AdmissionReview -> admission (review -> lookup -> plan -> patch) -> AdmissionReview
//! pod, session    -> status (outcome -> condition -> write)     -> AgenticSession
//! ```
//!
//! `plan`, `patch`, `outcome` and `condition` are functions without I/O, clock or global state; the rest calls them.

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
