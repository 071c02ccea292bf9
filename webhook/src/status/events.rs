//! Events on the session: what the condition reports, where `kubectl describe` shows it.
//!
//! The name of an Event is a hash of what it reports about which session and run. So every replica can
//! create an Event that another may not have come to create, and creating it twice is a conflict.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use workflow_contract::condition::{WORKFLOW_RECONCILED, event};
use workflow_contract::names::{FORCE_PROMPT_ANNOTATION, INJECTOR};
use workflow_contract::text;

use super::api::{WriteError, call, chain};
use super::{Observe, condition};
use crate::session::{AgenticSession, Condition, prompt_will_be_skipped};

/// The API server accepts notes of at most 1024 bytes.
const MAX_NOTE: usize = 1000;
/// A name is a DNS subdomain of at most 253 bytes; this leaves 33 for the hash.
const MAX_NAME: usize = 220;
/// API servers keep Events for an hour by default. Older ones are not published again by a new leader.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);

/// Publishes Events in order, each until the API server has accepted or rejected it.
pub struct EventPublisher {
    client: Client,
    /// `reportingInstance` of the Events.
    instance: String,
    observe: Arc<dyn Observe>,
    queues: Mutex<HashMap<String, Queue>>,
}

/// Events of one session.
#[derive(Default)]
struct Queue {
    pending: VecDeque<Event>,
    /// Name of the Event about the skipped prompt that was enqueued last.
    prompt: Option<String>,
}

impl EventPublisher {
    #[must_use]
    pub fn new(client: Client, instance: String, observe: Arc<dyn Observe>) -> Self {
        Self { client, instance, observe, queues: Mutex::default() }
    }

    /// Enqueues the Event of the present condition, if the replica that wrote it may have ended before it
    /// published it. Returns whether there is one.
    pub fn enqueue_recent(&self, session: &AgenticSession) -> bool {
        let reason = condition::recent_event(session, Timestamp::now());
        let Some((reason, condition)) = reason.zip(session.condition(WORKFLOW_RECONCILED)) else {
            return false;
        };
        self.enqueue(session, reason, condition);
        true
    }

    /// Enqueues an Event with this reason that reports the condition.
    pub fn enqueue(&self, session: &AgenticSession, reason: &str, condition: &Condition) {
        let event = condition_event(reason, condition, session, &self.instance, Timestamp::now());
        self.with_queue(session.metadata.uid.as_deref(), |queue| queue.push(event));
    }

    /// Enqueues the Event about a prompt that the next start will skip, once. Returns whether there is one.
    pub fn enqueue_prompt(&self, session: &AgenticSession) -> bool {
        let Some(event) = prompt_event(session, &self.instance, Timestamp::now()) else { return false };
        self.with_queue(session.metadata.uid.as_deref(), |queue| {
            let is_new = queue.prompt != event.metadata.name;
            if is_new {
                queue.prompt.clone_from(&event.metadata.name);
                queue.push(event);
            }
            is_new
        })
    }

    /// Creates the session's pending Events. The API server rejects some for good, for example in a
    /// namespace that is being deleted; these are dropped.
    ///
    /// # Errors
    /// [`WriteError`]; the Event stays pending.
    pub async fn publish(&self, uid: &str) -> Result<(), WriteError> {
        // A replica that has lost the Lease publishes all the same: the next leader need not know of a
        // write this late.
        while let Some(event) = self.with_queue(Some(uid), |queue| queue.pending.front().cloned()) {
            let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
            let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
            match call("create the Event", events.create(&PostParams::default(), &event)).await {
                Ok(_) => {}
                Err(error) if error.is_status(409) => {}
                Err(error) if error.rejection().is_some() => {
                    self.observe.write_failed();
                    tracing::warn!(
                        namespace,
                        event = event.metadata.name,
                        reason = event.reason,
                        error = chain(&error),
                        "event rejected",
                    );
                }
                Err(error) => return Err(error),
            }
            self.with_queue(Some(uid), |queue| {
                queue.pending.retain(|one| one.metadata.name != event.metadata.name);
            });
        }
        Ok(())
    }

    /// Drops the Events of sessions that are gone, and what is kept of sessions without any.
    pub fn prune(&self, exists: impl Fn(&str) -> bool) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|uid, queue| exists(uid) && (!queue.pending.is_empty() || queue.prompt.is_some()));
    }

    fn with_queue<T>(&self, uid: Option<&str>, work: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = uid.unwrap_or_default();
        let result = work(queues.entry(uid.to_owned()).or_default());
        if queues.get(uid).is_some_and(|queue| queue.pending.is_empty() && queue.prompt.is_none()) {
            queues.remove(uid);
        }
        result
    }
}

impl Queue {
    fn push(&mut self, event: Event) {
        if self.pending.iter().all(|one| one.metadata.name != event.metadata.name) {
            self.pending.push_back(event);
        }
    }
}

/// The Event with this reason that reports the condition for the session's present run.
fn condition_event(
    reason: &str,
    condition: &Condition,
    session: &AgenticSession,
    instance: &str,
    now: Timestamp,
) -> Event {
    let generation = condition.observed_generation.unwrap_or_default().to_string();
    let why = condition.reason.as_deref().unwrap_or_default();
    let note = condition.message.as_deref().unwrap_or_default();
    // The wanted workflow may change several times under one pod.
    let wanted = if reason == event::RESTART_REQUIRED { note } else { "" };
    new_event(reason, &[why, &generation, wanted], note, session, instance, now)
}

/// The Event about a prompt that the next start will skip, if the run is over and its end is recent.
fn prompt_event(session: &AgenticSession, instance: &str, now: Timestamp) -> Option<Event> {
    let status = session.status.as_ref()?;
    let is_over = matches!(status.phase.as_deref(), Some("Stopped" | "Failed"));
    if !is_over || session.opted_out() || session.workflow().is_none() || !prompt_will_be_skipped(session) {
        return None;
    }
    let conditions = status.conditions.iter().filter_map(|condition| condition.last_transition_time);
    let recorded = status.reconciled_workflow.as_ref().and_then(|recorded| recorded.applied_at);
    let since = conditions.chain(recorded).chain(status.start_time).max()?;
    if now.duration_since(since) > EVENT_TTL {
        return None;
    }
    let note = format!(
        "the last run did not have the workflow that the session asks for, and the platform skips the initial \
         prompt at the next start; to have it run, set the session annotation {FORCE_PROMPT_ANNOTATION}=true \
         before that"
    );
    Some(new_event(event::PROMPT_SKIPPED, &[], &note, session, instance, now))
}

/// `identity` distinguishes Events with the same reason in one run.
fn new_event(
    reason: &str,
    identity: &[&str],
    note: &str,
    session: &AgenticSession,
    instance: &str,
    now: Timestamp,
) -> Event {
    let name = session.name_any();
    let uid = session.uid().unwrap_or_default();
    // Every pod has a run of its own, with its own `startTime`.
    let run = session.status.as_ref().and_then(|status| status.start_time).unwrap_or_default().to_string();
    let hash = hash([&uid, &run, reason].into_iter().chain(identity.iter().copied()));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{hash:016x}", &name[..name.floor_char_boundary(MAX_NAME)])),
            namespace: session.namespace(),
            ..ObjectMeta::default()
        },
        action: Some("DeliverWorkflow".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(text::cut(note, MAX_NOTE)),
        reason: Some(reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(AgenticSession::api_version(&()).into_owned()),
            kind: Some(AgenticSession::kind(&()).into_owned()),
            name: Some(name),
            namespace: session.namespace(),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(INJECTOR.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(if reason == event::DELIVERED { "Normal" } else { "Warning" }.to_owned()),
        ..Event::default()
    }
}

/// FNV-1a over the parts: the same in every release, so that replicas of two releases agree.
fn hash<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = parts.flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "2026-01-01T00:00:00Z";

    fn named(reason: &str, message: &str, start: &str) -> Event {
        let session: AgenticSession = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s".repeat(250), "namespace": "ns", "uid": "u"}, "spec": {},
            "status": {"startTime": start},
        }))
        .unwrap();
        let condition = Condition {
            reason: Some("RefNotFound".into()),
            message: Some(message.into()),
            observed_generation: Some(1),
            ..Condition::default()
        };
        condition_event(reason, &condition, &session, "i", Timestamp::UNIX_EPOCH)
    }

    fn ended(generation: i64, phase: &str, conditions: &[(&str, &str)]) -> AgenticSession {
        let at = |type_: &str| if type_ == "RunnerStarted" { "2026-01-01T00:10:00Z" } else { RUN };
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status)| {
                serde_json::json!({"type": type_, "status": status, "lastTransitionTime": at(type_)})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s", "namespace": "ns", "uid": "u", "generation": generation},
            "spec": {"activeWorkflow": {"gitUrl": "https://h/r"}},
            "status": {"startTime": RUN, "phase": phase, "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn reports_a_prompt_that_the_next_start_will_skip() {
        let now: Timestamp = "2026-01-01T00:20:00Z".parse().unwrap();
        let stopped = ("RunnerStarted", "False");
        let undelivered = [stopped, (WORKFLOW_RECONCILED, "False")];
        for (reported, generation, phase, conditions) in [
            (true, 2, "Stopped", &[stopped][..]),
            (true, 1, "Failed", &undelivered),
            (true, 1, "Stopped", &undelivered),
            (false, 1, "Stopped", &[stopped]),
            (false, 2, "Stopped", &[]),
            (false, 2, "Pending", &undelivered),
            (false, 2, "Running", &undelivered),
            (false, 2, "Stopped", &[stopped, (WORKFLOW_RECONCILED, "True")]),
        ] {
            let session = ended(generation, phase, conditions);
            let event = prompt_event(&session, "i", now);
            assert_eq!(event.is_some(), reported, "{generation} {phase} {conditions:?}");
            if let Some(event) = event {
                assert_eq!(event.reason.as_deref(), Some("InitialPromptSkipped"));
                let note = event.note.unwrap();
                assert!(note.contains("ambient-code.io/force-execute-prompt=true"), "{note}");
                let later = now + EVENT_TTL;
                assert_eq!(prompt_event(&session, "i", later), None, "long ago");
            }
        }
    }

    #[test]
    fn a_queue_keeps_every_event_once_and_in_order() {
        let mut queue = Queue::default();
        let events = [
            named(event::RESTART_REQUIRED, "a", RUN),
            named(event::RESTART_REQUIRED, "b", RUN),
            named(event::DELIVERED, "c", RUN),
        ];
        for event in events.iter().chain(&events) {
            queue.push(event.clone());
        }
        assert_eq!(queue.pending, events);
    }

    #[test]
    fn the_same_report_has_the_same_name_and_another_report_another() {
        let first = named(event::FAILED, "m", RUN);
        assert_eq!(first.name_any(), named(event::FAILED, "m", RUN).name_any());
        assert_ne!(first.name_any(), named(event::FAILED, "m", "2026-01-01T00:00:01Z").name_any());
        assert_ne!(first.name_any(), named(event::DELIVERED, "m", RUN).name_any());
        let (a, b) = (named(event::RESTART_REQUIRED, "a", RUN), named(event::RESTART_REQUIRED, "b", RUN));
        assert_ne!(a.name_any(), b.name_any());
    }

    #[test]
    fn keeps_within_the_limits_of_the_api() {
        let event = named(event::FAILED, &"ä".repeat(2000), RUN);
        assert!(event.name_any().len() <= 253);
        assert!(event.note.unwrap().len() <= 1024);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
