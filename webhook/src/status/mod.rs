//! The status controller: copies the outcome of each delivery to its session.
//!
//! ```text
//! pods ────> outcome ──> cache ─┐
//!            (pure)             ├─> condition ──change──> apply ──PUT status──> AgenticSession
//! sessions ─────────────────────┤   (verdict: pure)         └──> events ──> Event
//! registration ─────────────────┘
//!      watch: every replica                       Lease holder
//! ```
//!
//! - Two pure steps: `outcome` reads a pod as the kubelet reports it, `condition` compares outcome and
//!   session and returns the change, with the messages of `verdict`.
//! - Every replica watches and keeps the last state of each session's pod as long as the session
//!   exists. So a change of leader, a conflict or a pod that is deleted at once loses nothing, and no
//!   finalizer is needed, which the operator would never remove.
//! - Level-triggered: each event, a new leader and a periodic full pass lead to the same comparison
//!   of the present state.
//! - Only our condition and `reconciledWorkflow` are written, not before the operator's first writes of
//!   a run, and not for runs that began before the webhook was registered.

mod api;
pub mod apply;
mod backoff;
pub mod cache;
pub mod condition;
mod controller;
mod events;
pub mod live;
pub mod outcome;
pub mod pod;
mod pods;
mod status_json;
mod verdict;
mod watch;

use std::time::Duration;

pub use controller::{Handle, spawn};

/// Receives what the controller does, for metrics.
pub trait Observe: Send + Sync {
    /// A condition with this reason was written.
    fn wrote(&self, _reason: &str) {}
    /// The outcome of a delivery was written for the first time: its duration, if the init container reported
    /// it, and the time from its end to the write.
    fn reported(&self, _took: Option<Duration>, _lag: Duration) {}
    /// A write met a resourceVersion conflict and is retried.
    fn conflict(&self) {}
    /// A write failed and is retried.
    fn write_failed(&self) {}
    /// A delivery into a running session: `added`, `rejected`, `delivered` or `failed`; the last two with the
    /// time since the change of the spec, or since the container was added.
    fn delivered_live(&self, _outcome: &'static str, _took: Option<Duration>) {}
    /// A watch failed and is restarted.
    fn watch_failed(&self, _resource: &'static str) {}
}

impl Observe for () {}
