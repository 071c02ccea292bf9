//! Delivery into running sessions: whether and when an ephemeral container is added. Pure, but for `add`.
//!
//! Nothing is remembered: the containers of the pod are the history of its deliveries. At most one is added for each
//! generation of the session, and only after the one before has ended, because a container that ends later could
//! publish an older workflow over a newer one.

mod add;

use super::outcome::{Outcome, PodFacts, Presence, RunnerState};
use super::verdict::WaitsFor;
use crate::session::SessionStatus;
pub use add::{Added, LiveDeliveries};

/// Maximum number of deliveries into one pod. Its ephemeral containers can't be removed, and each stays in the pod's
/// spec and status.
pub const MAX_DELIVERIES: usize = 20;

/// True if workflows are delivered into running sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveDelivery {
    /// Not configured.
    Off,
    On,
    /// The container can't be added to this pod, for this reason.
    Rejected(String),
}

/// When the workflow of the present generation is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextDelivery {
    Now,
    Later(WaitsFor),
    /// Not into this pod; with the reason if it is none that follows from the session's state.
    Never(Option<String>),
}

/// Decides about a delivery that the pod lacks. `generation` is the session's.
#[must_use]
pub fn next_delivery(
    pod: &PodFacts,
    session: &SessionStatus,
    generation: i64,
    mode: &LiveDelivery,
) -> NextDelivery {
    match mode {
        LiveDelivery::Off => return NextDelivery::Never(None),
        LiveDelivery::Rejected(why) => {
            let why = format!("it can't be delivered into the running session: {why}");
            return NextDelivery::Never(Some(why));
        }
        LiveDelivery::On => {}
    }
    let is_over = pod.presence != Presence::Exists || pod.is_ending || pod.runner == RunnerState::Ended;
    let is_running = match session.phase.as_deref() {
        Some("Running") => pod.runner == RunnerState::Running,
        Some("Creating") => false,
        _ => return NextDelivery::Never(None),
    };
    let last = pod.live.last();
    if is_over || last.is_some_and(|last| last.stamp.generation >= generation) {
        return NextDelivery::Never(None);
    }
    // Those before the last had ended when it was added.
    if let Some(earlier) = last.filter(|last| last.ended.is_none()) {
        return match earlier.outcome {
            Outcome::Fetching => NextDelivery::Later(WaitsFor::Earlier(earlier.stamp.generation)),
            // It may still start, and would then publish over a later one.
            _ => NextDelivery::Never(Some(format!("{} has not started", earlier.container()))),
        };
    }
    if pod.live.len() >= MAX_DELIVERIES {
        let why =
            format!("{MAX_DELIVERIES} workflows were delivered into the running session, the most for one");
        return NextDelivery::Never(Some(why));
    }
    if is_running { NextDelivery::Now } else { NextDelivery::Later(WaitsFor::Runner) }
}
