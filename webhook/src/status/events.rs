//! Events on the session: the same news as the condition, where `kubectl describe` shows it.
//!
//! An Event's name is made of what it tells, and of nothing but the session. So every replica can
//! tell what another may have left untold, and to tell it again meets the Event that is there.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Resource, ResourceExt};
use workflow_contract::condition::event;
use workflow_contract::names::INJECTOR;
use workflow_contract::text;

use crate::session::{AgenticSession, Condition};

/// Longest note that the API server takes is 1024 bytes.
const MAX_NOTE: usize = 1000;
/// A name is a DNS subdomain of at most 253 bytes; this leaves room for the hash.
const MAX_NAME: usize = 220;

/// The Event with this reason, which tells of the condition, about this session's present run.
#[must_use]
pub fn event(
    reason: &str,
    condition: &Condition,
    session: &AgenticSession,
    instance: &str,
    now: Timestamp,
) -> Event {
    let name = session.name_any();
    let uid = session.uid().unwrap_or_default();
    let generation = condition.observed_generation.unwrap_or_default().to_string();
    let why = condition.reason.as_deref().unwrap_or_default();
    // What is wanted may change several times under one pod, and each time is news.
    let wanted = condition.message.as_deref().filter(|_| reason == event::RESTART_REQUIRED);
    // The operator gives every pod a run of its own, which `startTime` tells from the others.
    let run = session.status.as_ref().and_then(|status| status.start_time).unwrap_or_default().to_string();
    let told = [&uid, &run, reason, why, &generation, wanted.unwrap_or_default()];
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", &name[..name.floor_char_boundary(MAX_NAME)], hash(&told))),
            namespace: session.namespace(),
            ..ObjectMeta::default()
        },
        action: Some("DeliverWorkflow".to_owned()),
        event_time: Some(MicroTime(now)),
        note: condition.message.as_deref().map(|message| text::cut(message, MAX_NOTE)),
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
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
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
        event(reason, &condition, &session, "i", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_same_news_has_the_same_name_and_other_news_another() {
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
