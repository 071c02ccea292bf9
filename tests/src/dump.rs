//! Describes a namespace after a failed test.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, ListParams};

use crate::session;
use crate::wait::Describe;

/// Limit of shown events.
const EVENTS: usize = 30;

/// The namespace's sessions, pods and latest events, one per line, or the error of reading them.
pub(crate) async fn namespace(client: &Client, name: &str) -> String {
    let all = ListParams::default();
    let mut text = String::new();
    match session::api(client.clone(), name).list(&all).await {
        Ok(sessions) => sessions.iter().for_each(|session| line(&mut text, &session.describe())),
        Err(error) => line(&mut text, &format!("sessions: {error}")),
    }
    match Api::<Pod>::namespaced(client.clone(), name).list(&all).await {
        Ok(pods) => pods.iter().for_each(|pod| line(&mut text, &pod.describe())),
        Err(error) => line(&mut text, &format!("pods: {error}")),
    }
    match Api::<Event>::namespaced(client.clone(), name).list(&all).await {
        Ok(events) => latest(events.items).iter().for_each(|event| line(&mut text, event)),
        Err(error) => line(&mut text, &format!("events: {error}")),
    }
    text
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "  {line}");
}

/// The latest events, oldest first.
fn latest(mut events: Vec<Event>) -> Vec<String> {
    let time = |event: &Event| {
        let observed = event.last_timestamp.as_ref().map(|time| time.0);
        observed.or(event.event_time.as_ref().map(|time| time.0)).or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0))
    };
    events.sort_by_key(time);
    let skipped = events.len().saturating_sub(EVENTS);
    events
        .iter()
        .skip(skipped)
        .map(|event| {
            let object = &event.involved_object;
            format!(
                "event {} {} {}/{}: {}",
                time(event).map(|time| time.to_string()).unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default(),
                object.kind.as_deref().unwrap_or_default(),
                object.name.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(second: u32) -> Event {
        serde_json::from_value(json!({
            "metadata": {},
            "involvedObject": { "kind": "Pod", "name": "p" },
            "reason": "Pulled",
            "message": format!("number {second}"),
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }))
        .unwrap()
    }

    #[test]
    fn shows_the_latest_events_in_order() {
        let events = latest((0..40).rev().map(event).collect());
        assert_eq!(events.len(), EVENTS);
        assert_eq!(events[0], "event 2026-01-01T00:00:10Z Pulled Pod/p: number 10");
        assert_eq!(events[29], "event 2026-01-01T00:00:39Z Pulled Pod/p: number 39");
    }
}
