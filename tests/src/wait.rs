//! Waits for an object to reach an expected state: by a watch, or by polling where there is none, with a timeout whose error
//! contains the last state.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::session::{self, Session};

/// Timeout for everything that a busy cluster does, except for the fetcher's own backoff.
pub const TIMEOUT: Duration = Duration::from_mins(2);

/// Polling interval.
const POLL: Duration = Duration::from_millis(50);

/// An object in one line, for messages.
pub trait Describe {
    /// The state that explains why a wait timed out.
    fn describe(&self) -> String;
}

/// Waits until `holds` is true of the object called `name`, and returns the object (`None`: it does not exist).
///
/// `what` completes the message "waited for ...".
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    mut holds: impl FnMut(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Describe + Send + 'static,
{
    let mut last = "nothing".to_owned();
    let watch = async {
        let mut changes = watch_object(api.clone(), name).default_backoff().boxed();
        loop {
            // The watch restarts after an error.
            let Some(object) = changes.try_next().await.unwrap_or_default() else { continue };
            last = object.as_ref().map_or_else(|| format!("no {name}"), Describe::describe);
            if holds(object.as_ref()) {
                return object;
            }
        }
    };
    match tokio::time::timeout(limit, watch).await {
        Ok(object) => Ok(object),
        Err(_) => bail!("waited {} s for {what}; last observed: {last}", limit.as_secs()),
    }
}

/// As [`until`], for an object that must exist.
pub async fn until_exists<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    mut holds: impl FnMut(&K) -> bool,
) -> anyhow::Result<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Describe + Send + 'static,
{
    let object = until(api, name, what, limit, |object| object.is_some_and(&mut holds)).await?;
    object.with_context(|| format!("{name} is gone"))
}

/// Polls until `holds` returns true; an error counts as false.
///
/// `what` completes the message "waited for ...".
pub async fn until_so<F>(what: &str, mut holds: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    until_found(what, || holds().map_ok(|holds| holds.then_some(()))).await
}

/// Polls until `poll` returns a value; an error counts as none.
pub async fn until_found<T, F>(what: &str, mut poll: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut result = "no response".to_owned();
    let polls = async {
        loop {
            result = match poll().await {
                Ok(Some(found)) => return found,
                Ok(None) => "not yet".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, polls).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("waited {} s for {what}; last result: {result}", TIMEOUT.as_secs()),
    }
}

impl Describe for Session {
    fn describe(&self) -> String {
        session::summary(self)
    }
}

impl Describe for Pod {
    fn describe(&self) -> String {
        let status = self.status.clone().unwrap_or_default();
        let containers: Vec<_> = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
            .map(container)
            .collect();
        let deleted = if self.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
        let failed = [&status.reason, &status.message]
            .into_iter()
            .flatten()
            .fold(String::new(), |all, text| all + ", " + text);
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .and_then(|condition| condition.message.as_deref());
        format!(
            "pod {}: {}{deleted}{failed}; {}{}",
            self.name_any(),
            status.phase.as_deref().unwrap_or("no phase"),
            containers.join("; "),
            unscheduled.map(|why| format!("; not scheduled: {why}")).unwrap_or_default(),
        )
    }
}

/// A container's state, in short.
fn container(status: &ContainerStatus) -> String {
    let state = match status.state.as_ref() {
        Some(ContainerState { running: Some(_), .. }) => "running".to_owned(),
        Some(ContainerState { terminated: Some(ended), .. }) => {
            format!("exit {} \"{}\"", ended.exit_code, ended.message.as_deref().unwrap_or_default().trim())
        }
        Some(ContainerState { waiting: Some(waiting), .. }) => format!(
            "waiting ({}) {}",
            waiting.reason.as_deref().unwrap_or_default(),
            waiting.message.as_deref().unwrap_or_default()
        ),
        _ => "unknown".to_owned(),
    };
    format!("{} {state}", status.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn describes_the_state_of_all_containers_of_a_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "status": {
                "phase": "Pending",
                "initContainerStatuses": [{
                    "name": "init-workflow", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": 22, "message": "no such branch\n" } },
                }],
                "containerStatuses": [{
                    "name": "runner", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "waiting": { "reason": "PodInitializing" } },
                }],
            },
        }))
        .unwrap();
        assert_eq!(
            pod.describe(),
            "pod p: Pending; init-workflow exit 22 \"no such branch\"; runner waiting (PodInitializing) "
        );
    }

    #[test]
    fn describes_why_a_pod_was_rejected_or_not_scheduled() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "status": { "phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected" },
        }))
        .unwrap();
        assert!(pod.describe().contains("Failed, OutOfcpu, Pod was rejected"), "{}", pod.describe());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "status": { "phase": "Pending", "conditions": [
                { "type": "PodScheduled", "status": "False", "message": "Insufficient cpu" },
            ] },
        }))
        .unwrap();
        assert!(pod.describe().ends_with("not scheduled: Insufficient cpu"), "{}", pod.describe());
    }
}
