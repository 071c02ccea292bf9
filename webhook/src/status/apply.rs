//! Writes the status of sessions: read the session, decide, PUT the status with its resourceVersion,
//! and from the start after a conflict.
//!
//! The caches only trigger this. Each write is decided on the object to whose resourceVersion the PUT is
//! bound, so a stale cache costs a GET and never a wrong condition.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp, Unit};
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::watch;
use workflow_contract::condition::event;
use workflow_contract::condition::reason::OUTCOME_UNKNOWN;
use workflow_contract::names::{INJECTOR, runner_pod};

use super::Observe;
use super::api::{WriteError, call, chain};
use super::backoff::{FailureBackoff, UNKNOWN_GRACE_PERIOD, UnknownGrace};
use super::cache::{ClusterCache, PLATFORM_PAUSE, SPEC_CHANGE_PAUSE};
use super::condition::{self, Action, StatusChange};
use super::events::EventPublisher;
use super::live::{Added, LiveDeliveries, LiveDelivery};
use super::outcome::{self, PodFacts};
use super::pod::SessionPod;
use super::status_json;
use crate::config::Config;
use crate::session::AgenticSession;

/// Conflicts in a row before other sessions get their turn. The operator's writes come in bursts.
const ATTEMPTS: u32 = 8;

/// Pause before a container that was rejected is tried again: an admin may have granted the permission.
const REJECTED_PAUSE: Duration = Duration::from_mins(1);

/// Writes the status of sessions and publishes their Events while this replica is leader.
pub struct StatusWriter {
    client: Client,
    cache: Arc<ClusterCache>,
    leader: watch::Receiver<bool>,
    observe: Arc<dyn Observe>,
    events: EventPublisher,
    backoff: FailureBackoff,
    grace: UnknownGrace,
    live: LiveDeliveries,
}

impl StatusWriter {
    /// `instance` is the reporting instance of Events.
    #[must_use]
    pub fn new(
        client: Client,
        cache: Arc<ClusterCache>,
        leader: watch::Receiver<bool>,
        instance: String,
        config: Arc<ArcSwap<Config>>,
        observe: Arc<dyn Observe>,
    ) -> Self {
        Self {
            live: LiveDeliveries::new(client.clone(), config, Arc::clone(&observe)),
            events: EventPublisher::new(client.clone(), instance, Arc::clone(&observe)),
            client,
            cache,
            leader,
            observe,
            backoff: FailureBackoff::default(),
            grace: UnknownGrace::default(),
        }
    }

    #[must_use]
    pub fn is_leader(&self) -> bool {
        *self.leader.borrow()
    }

    /// Reports whether the caches show that the session has to be written.
    #[must_use]
    pub fn is_due(&self, session: &AgenticSession) -> bool {
        let uid = session.metadata.uid.as_deref().unwrap_or_default();
        self.cache.sync_state().is_complete()
            && self.decide(session, self.cache.pod(uid).as_ref(), &self.live.mode()).is_some()
    }

    /// Brings the session's status up to date and publishes its Events. Returns the time after which the
    /// session has to be reconciled again even if nothing changes.
    ///
    /// # Errors
    /// [`WriteError`]; the next call starts over.
    pub async fn reconcile(&self, cached: &AgenticSession) -> Result<Option<Duration>, WriteError> {
        let uid = cached.uid().unwrap_or_default();
        let pause = self.update_status(cached, &uid).await?;
        if self.is_leader() {
            self.events.enqueue_prompt(cached);
        }
        self.events.publish(&uid).await?;
        self.backoff.reset(&uid);
        Ok(pause)
    }

    async fn update_status(
        &self,
        cached: &AgenticSession,
        uid: &str,
    ) -> Result<Option<Duration>, WriteError> {
        if !self.is_leader() || !self.is_due(cached) {
            self.grace.reset(uid);
            return Ok(None);
        }
        if let Some(pause) = self.cache.pause_after_spec_change(uid, SPEC_CHANGE_PAUSE, Instant::now()) {
            return Ok(Some(pause));
        }
        let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
        let resource = ApiResource::erase::<AgenticSession>(&());
        let sessions: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let (mut mode, mut again) = (self.live.mode(), None);
        for attempt in 0..ATTEMPTS {
            let live = call("read the session", sessions.get_opt(&name)).await?;
            let Some(mut live) = live.filter(|live| live.metadata.uid.as_deref() == Some(uid)) else {
                return Ok(None);
            };
            let session = typed(&live)?;
            let pod = self.pod(&session, &namespace, &name, uid).await?;
            let change = match self.decide(&session, pod.as_ref(), &mode) {
                None => return Ok(again),
                Some(Action::Write(change)) => change,
                Some(Action::Deliver) => {
                    if let Some(pause) = self.pause_for_platform(&session, uid) {
                        return Ok(Some(pause));
                    }
                    match self.deliver_live(&session, uid, &mode).await? {
                        None => return Ok(None),
                        Some(Added::Rejected(why)) => {
                            (mode, again) = (LiveDelivery::Rejected(why), Some(REJECTED_PAUSE));
                        }
                        Some(Added::Yes(_) | Added::Outdated) => {}
                    }
                    continue;
                }
            };
            if change.condition.reason.as_deref() == Some(OUTCOME_UNKNOWN)
                && self.grace.is_pending(uid, Instant::now())
            {
                return Ok(Some(UNKNOWN_GRACE_PERIOD));
            }
            status_json::apply(&mut live.data, &change)?;
            if !self.is_leader() {
                return Ok(None);
            }
            let params = PostParams { field_manager: Some(INJECTOR.to_owned()), ..PostParams::default() };
            match call("write the status", sessions.replace_status(&name, &params, &live)).await {
                Ok(_) => {
                    self.grace.reset(uid);
                    self.record_write(&session, pod.as_ref(), &change);
                    return Ok(again);
                }
                Err(error) if error.is_status(404) => return Ok(None),
                Err(error) if error.is_status(409) => {
                    self.observe.conflict();
                    tokio::time::sleep(Duration::from_millis(5) * attempt).await;
                }
                Err(error) => {
                    if error.status().is_none() {
                        // The write may have succeeded, and then the next attempt finds no change.
                        self.enqueue_event(&session, &change);
                    }
                    return Err(error);
                }
            }
        }
        Err(WriteError::Contended(ATTEMPTS))
    }

    /// Logs a failure and returns the pause before the next attempt.
    pub fn pause_after_failure(&self, session: &AgenticSession, error: &WriteError) -> Duration {
        self.observe.write_failed();
        let pause = self.backoff.next_pause(&session.uid().unwrap_or_default());
        tracing::warn!(
            namespace = session.namespace(),
            session = session.name_any(),
            error = chain(error),
            retry_in_ms = pause.as_millis(),
            "failed to update session status",
        );
        pause
    }

    /// Drops what is kept of sessions that are gone.
    pub fn prune(&self) {
        self.backoff.clear();
        self.grace.clear();
        let sessions = self.cache.sessions.state();
        let uids: HashSet<_> =
            sessions.iter().filter_map(|session| session.metadata.uid.as_deref()).collect();
        self.events.prune(|uid| uids.contains(uid));
        self.live.prune(|uid| uids.contains(uid));
    }

    /// Enqueues Events that a former leader may not have published. Returns whether there are any.
    pub fn enqueue_recent_events(&self, session: &AgenticSession) -> bool {
        let condition = self.events.enqueue_recent(session);
        self.events.enqueue_prompt(session) || condition
    }

    fn decide(
        &self,
        session: &AgenticSession,
        pod: Option<&PodFacts>,
        mode: &LiveDelivery,
    ) -> Option<Action> {
        let now = Timestamp::now().round(Unit::Second).unwrap_or_default();
        condition::decide(session, pod, self.cache.sync_state().registered, mode, now)
    }

    /// Remaining pause until the operator's own POST of a change has probably ended.
    fn pause_for_platform(&self, session: &AgenticSession, uid: &str) -> Option<Duration> {
        if condition::is_posted(session) {
            return None;
        }
        // Its report is an event; without one, what is left.
        self.cache.pause_after_spec_change(uid, PLATFORM_PAUSE, Instant::now())
    }

    /// Adds the container that delivers the session's workflow to its pod, if the pod as it is now still lacks
    /// it. None if this replica or the pod is not the one any more.
    async fn deliver_live(
        &self,
        session: &AgenticSession,
        uid: &str,
        mode: &LiveDelivery,
    ) -> Result<Option<Added>, WriteError> {
        let Some(running) = self.live.read(session).await? else { return Ok(None) };
        self.cache.with_pods(|pods| pods.apply(running.facts.clone()));
        if self.decide(session, Some(&running.facts), mode) != Some(Action::Deliver) {
            return Ok(Some(Added::Outdated));
        }
        if !self.is_leader() {
            return Ok(None);
        }
        let since_change = self.cache.since_spec_change(uid, Instant::now());
        let added = self.live.add(&running, session, since_change).await?;
        if let Added::Yes(facts) = &added {
            self.cache.with_pods(|pods| pods.apply((**facts).clone()));
        }
        Ok(Some(added))
    }

    /// The session's pod from the cache, or from the API server where the watch may be behind.
    async fn pod(
        &self,
        session: &AgenticSession,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<PodFacts>, WriteError> {
        let cached = self.cache.pod(uid);
        if cached.as_ref().is_some_and(|pod| condition::is_up_to_date(pod, session)) {
            return Ok(cached);
        }
        let pods: Api<SessionPod> = Api::namespaced(self.client.clone(), namespace);
        let live = call("read the session's pod", pods.get_opt(&runner_pod(name))).await?;
        let live = live.and_then(|pod| outcome::read(&pod)).filter(|facts| facts.session_uid == uid);
        Ok(live.or(cached))
    }

    fn record_write(&self, session: &AgenticSession, pod: Option<&PodFacts>, change: &StatusChange) {
        let condition = &change.condition;
        let reason = condition.reason.as_deref().unwrap_or_default();
        self.observe.wrote(reason);
        if let Some((pod, ended)) = pod.and_then(|pod| Some((pod, newly_reported(session, pod, change)?))) {
            // Clocks of nodes differ, and the kubelet's times are whole seconds.
            let lag = Timestamp::now().duration_since(ended).max(SignedDuration::ZERO).unsigned_abs();
            self.observe.reported(pod.took, lag);
        }
        tracing::info!(
            namespace = session.namespace(),
            session = session.name_any(),
            pod_uid = pod.map(|pod| pod.uid.as_str()),
            status = condition.status,
            reason,
            message = condition.message,
            "condition written",
        );
        self.enqueue_event(session, change);
        let is_live = pod.and_then(PodFacts::last_attempt).is_some_and(|last| {
            last.live.is_some() && change.condition.observed_generation == Some(last.stamp.generation)
        });
        if is_live && matches!(change.event, Some(event::DELIVERED | event::FAILED)) {
            self.live.record(session, change.event == Some(event::DELIVERED));
        }
    }

    fn enqueue_event(&self, session: &AgenticSession, change: &StatusChange) {
        if let Some(reason) = change.event {
            self.events.enqueue(session, reason, &change.condition);
        }
    }
}

/// End of the pod's init container, if the change is the first that reports the outcome.
fn newly_reported(session: &AgenticSession, pod: &PodFacts, change: &StatusChange) -> Option<Timestamp> {
    let is_outcome = matches!(change.event, Some(event::DELIVERED | event::FAILED));
    let reported = change.workflow.as_ref()?.applied_at;
    let recorded = session.status.as_ref()?.reconciled_workflow.as_ref().and_then(|record| record.applied_at);
    // After a delivery into the running session it would be about that one.
    pod.ended.filter(|_| is_outcome && recorded != reported && pod.live.is_empty())
}

fn typed(live: &DynamicObject) -> Result<AgenticSession, WriteError> {
    Ok(AgenticSession {
        metadata: live.metadata.clone(),
        spec: Option::deserialize(&live.data["spec"])?.unwrap_or_default(),
        status: Option::deserialize(&live.data["status"])?,
    })
}
