//! From serving to the end.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Phases of the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPhase {
    /// Ready and serving.
    Serving,
    /// Not ready, still serving, closing connections as they are used.
    Draining,
    /// Closing.
    Ending,
}

/// Waits for [`ServerPhase::Ending`]; a sender that is gone counts as it.
pub(super) async fn ending(phase: &mut watch::Receiver<ServerPhase>) {
    // An error means that the sender is gone.
    let _ = phase.wait_for(|phase| *phase == ServerPhase::Ending).await;
}

/// Goes through the phases: at the first signal to draining, after the drain period to the end.
/// Returns `false` when a second signal cuts the drain period short.
pub async fn drained(
    phase: &watch::Sender<ServerPhase>,
    drain: Duration,
    signals: &mut mpsc::Receiver<()>,
) -> bool {
    signals.recv().await;
    phase.send_replace(ServerPhase::Draining);
    tracing::info!(seconds = drain.as_secs(), "draining");
    let graceful = tokio::select! {
        () = tokio::time::sleep(drain) => true,
        _ = signals.recv() => false,
    };
    phase.send_replace(ServerPhase::Ending);
    graceful
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn one_signal_drains_for_the_period_and_ends() {
        let (phase, observed) = watch::channel(ServerPhase::Serving);
        let (signal, mut signals) = mpsc::channel(2);
        let start = tokio::time::Instant::now();
        signal.send(()).await.unwrap();
        assert!(drained(&phase, DRAIN, &mut signals).await);
        assert_eq!((start.elapsed(), *observed.borrow()), (DRAIN, ServerPhase::Ending));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        let (phase, observed) = watch::channel(ServerPhase::Serving);
        let (signal, mut signals) = mpsc::channel(2);
        let start = tokio::time::Instant::now();
        signal.send(()).await.unwrap();
        signal.send(()).await.unwrap();
        assert!(!drained(&phase, DRAIN, &mut signals).await);
        assert_eq!((start.elapsed(), *observed.borrow()), (Duration::ZERO, ServerPhase::Ending));
    }
}
