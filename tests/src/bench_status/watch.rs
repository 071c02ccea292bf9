//! Watches sessions as a user would, and records when the reason of each condition changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::StreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

use crate::session::{Session, SessionView};

const TIMEOUT: Duration = Duration::from_mins(5);

/// The time at which each session's present reason was first observed.
pub struct ConditionWatch {
    reasons: Arc<Mutex<HashMap<String, (String, Instant)>>>,
    watch: AbortHandle,
}

impl ConditionWatch {
    pub fn start(sessions: Api<Session>) -> Self {
        let reasons = Arc::<Mutex<HashMap<_, _>>>::default();
        let kept = Arc::clone(&reasons);
        let watch = tokio::spawn(async move {
            let mut events = watcher(sessions, Config::default()).boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(session) | Event::InitApply(session)) = event {
                    note(&kept, &session);
                }
            }
        });
        Self { reasons, watch: watch.abort_handle() }
    }

    /// The time since which the session's condition has this reason, if it has.
    pub fn since(&self, session: &str, reason: &str) -> Option<Instant> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.get(session).filter(|(present, _)| present == reason).map(|(_, at)| *at)
    }

    /// Waits until the conditions of all these sessions have this reason.
    pub async fn until_all(&self, sessions: &[String], reason: &str) -> anyhow::Result<()> {
        let limit = Instant::now() + TIMEOUT;
        for session in sessions {
            while self.since(session, reason).is_none() {
                if Instant::now() > limit {
                    bail!("{session} does not become {reason}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

impl Drop for ConditionWatch {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn note(reasons: &Mutex<HashMap<String, (String, Instant)>>, session: &Session) {
    let Some(condition) = session.workflow_reconciled() else { return };
    let now = Instant::now();
    let mut reasons = reasons.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = reasons.entry(session.name_any()).or_insert_with(|| (String::new(), now));
    if entry.0 != condition.reason {
        *entry = (condition.reason, now);
    }
}
