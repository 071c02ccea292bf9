//! The one that leads writes: read the session afresh, decide, PUT the status under its
//! resourceVersion, and from the start on a conflict.
//!
//! What has been seen is only a reason to look. What is written is decided on the object that the
//! PUT is bound to, so a stale copy costs a GET and never a wrong word.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::watch;
use workflow_contract::condition::reason::OUTCOME_UNKNOWN;
use workflow_contract::names::{INJECTOR, runner_pod};

use super::Observe;
use super::api::{WriteError, call};
use super::condition::{self, Change};
use super::events::EventPublisher;
use super::outcome::{self, PodFacts};
use super::patience::{DOUBT, Doubts, Failures};
use super::pod::SessionPod;
use super::status_json;
use super::watch::View;
use crate::session::AgenticSession;

/// Conflicts in a row before others get their turn. The operator's own writes come in bursts.
const ATTEMPTS: u32 = 8;
/// Whether a session's status is as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is, as far as has been seen.
    Done,
    /// To be looked at again after this time, whatever happens.
    Later(Duration),
}

/// Writes what there is to be written.
pub struct Writer {
    client: Client,
    view: Arc<View>,
    leader: watch::Receiver<bool>,
    observe: Arc<dyn Observe>,
    events: EventPublisher,
    failures: Failures,
    doubts: Doubts,
}

impl Writer {
    /// A writer that writes only while `leader` says so; `instance` signs its Events.
    #[must_use]
    pub fn new(
        client: Client,
        view: Arc<View>,
        leader: watch::Receiver<bool>,
        instance: String,
        observe: Arc<dyn Observe>,
    ) -> Self {
        let events = EventPublisher::new(client.clone(), instance, Arc::clone(&observe));
        Self {
            client,
            view,
            leader,
            observe,
            events,
            failures: Failures::default(),
            doubts: Doubts::default(),
        }
    }

    /// Whether this replica writes.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.leader.borrow()
    }

    /// Whether, from what has been seen, something is to be written to the session.
    #[must_use]
    pub fn is_due(&self, session: &AgenticSession) -> bool {
        let uid = session.metadata.uid.as_deref().unwrap_or_default();
        self.view.horizon().is_complete() && self.decide(session, self.view.pod(uid).as_ref()).is_some()
    }

    /// Brings the session's status up to what has been seen.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is lost by it, the next call starts over.
    pub async fn settle(&self, seen: &AgenticSession) -> Result<Settled, WriteError> {
        let uid = seen.uid().unwrap_or_default();
        let settled = self.settle_status(seen, &uid).await?;
        if self.leads() {
            self.events.enqueue_prompt(seen);
        }
        self.events.publish(&uid).await?;
        Ok(settled)
    }

    async fn settle_status(&self, seen: &AgenticSession, uid: &str) -> Result<Settled, WriteError> {
        if !self.leads() || !self.is_due(seen) {
            self.doubts.clear(uid);
            return Ok(Settled::Done);
        }
        if let Some(pause) = self.view.pause_after_spec_change(uid, Instant::now()) {
            return Ok(Settled::Later(pause));
        }
        let (namespace, name) = (seen.namespace().unwrap_or_default(), seen.name_any());
        let resource = ApiResource::erase::<AgenticSession>(&());
        let sessions: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        for attempt in 0..ATTEMPTS {
            let live = call("read the session", sessions.get_opt(&name)).await?;
            let Some(mut live) = live.filter(|live| live.metadata.uid.as_deref() == Some(uid)) else {
                return Ok(Settled::Done);
            };
            let session = typed(&live)?;
            let pod = self.pod(&session, &namespace, &name, uid).await?;
            let Some(change) = self.decide(&session, pod.as_ref()) else { return Ok(Settled::Done) };
            if change.condition.reason.as_deref() == Some(OUTCOME_UNKNOWN)
                && self.doubts.is_new(uid, Instant::now())
            {
                return Ok(Settled::Later(DOUBT));
            }
            status_json::apply(&mut live.data, &change)?;
            if !self.leads() {
                return Ok(Settled::Done);
            }
            let params = PostParams { field_manager: Some(INJECTOR.to_owned()), ..PostParams::default() };
            match call("write the status", sessions.replace_status(&name, &params, &live)).await {
                Ok(_) => {
                    self.doubts.clear(uid);
                    self.wrote(&session, pod.as_ref(), &change);
                    return Ok(Settled::Done);
                }
                Err(error) if error.is_status(404) => return Ok(Settled::Done),
                Err(error) if error.is_status(409) => {
                    self.observe.conflict();
                    tokio::time::sleep(Duration::from_millis(5) * attempt).await;
                }
                Err(error) => {
                    if error.status().is_none() {
                        // It may have been written all the same, and then nothing is left to write.
                        self.owe(&session, &change);
                    }
                    return Err(error);
                }
            }
        }
        Err(WriteError::Contended(ATTEMPTS))
    }

    /// When to try again after a failure.
    pub fn retry(&self, session: &AgenticSession, error: &WriteError) -> Action {
        self.observe.write_failed();
        let pause = self.failures.count(&session.uid().unwrap_or_default());
        tracing::warn!(
            namespace = session.namespace(),
            session = session.name_any(),
            error = crate::status::chain(error),
            retry_in_ms = pause.as_millis(),
            "failed to update the session's status",
        );
        Action::requeue(pause)
    }

    /// The session is as it is to be: its next pause is the shortest again.
    pub fn forget_failures(&self, uid: &str) {
        self.failures.forget(|failing| failing == uid);
    }

    /// Forgets what sessions that are no more have left.
    pub fn prune(&self) {
        self.failures.forget(|_| true);
        self.doubts.forget();
        let sessions = self.view.sessions.state();
        let uids: HashSet<_> =
            sessions.iter().filter_map(|session| session.metadata.uid.as_deref()).collect();
        self.events.prune(|uid| uids.contains(uid));
    }

    /// Enqueues Events that a former leader may not have come to publish. Returns whether there are any.
    pub fn enqueue_recent(&self, session: &AgenticSession) -> bool {
        let reported = self.events.enqueue_recent(session);
        self.events.enqueue_prompt(session) || reported
    }

    fn decide(&self, session: &AgenticSession, pod: Option<&PodFacts>) -> Option<Change> {
        let now = Timestamp::now().round(Unit::Second).unwrap_or_default();
        condition::decide(session, pod, self.view.horizon().registered, now)
    }

    /// The session's pod as it was seen; where that need not be the last, the API server is asked,
    /// because the watch may be behind.
    async fn pod(
        &self,
        session: &AgenticSession,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<PodFacts>, WriteError> {
        let seen = self.view.pod(uid);
        if seen.as_ref().is_some_and(|pod| condition::is_up_to_date(pod, session)) {
            return Ok(seen);
        }
        let pods: Api<SessionPod> = Api::namespaced(self.client.clone(), namespace);
        let live = call("read the session's pod", pods.get_opt(&runner_pod(name))).await?;
        let live = live.and_then(|pod| outcome::read(&pod)).filter(|facts| facts.session_uid == uid);
        Ok(live.or(seen))
    }

    fn wrote(&self, session: &AgenticSession, pod: Option<&PodFacts>, change: &Change) {
        let condition = &change.condition;
        let reason = condition.reason.as_deref().unwrap_or_default();
        self.observe.wrote(reason);
        tracing::info!(
            namespace = session.namespace(),
            session = session.name_any(),
            pod_uid = pod.map(|pod| pod.uid.as_str()),
            status = condition.status,
            reason,
            message = condition.message,
            "condition written",
        );
        self.owe(session, change);
    }

    fn owe(&self, session: &AgenticSession, change: &Change) {
        if let Some(reason) = change.event {
            self.events.enqueue(session, reason, &change.condition);
        }
    }
}

/// What is read of a session, out of its JSON.
fn typed(live: &DynamicObject) -> Result<AgenticSession, WriteError> {
    Ok(AgenticSession {
        metadata: live.metadata.clone(),
        spec: Option::deserialize(&live.data["spec"])?.unwrap_or_default(),
        status: Option::deserialize(&live.data["status"])?,
    })
}
