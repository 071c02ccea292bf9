//! Waits for an object to be as a test expects it: by watching, with a limit, and with a message that says what was
//! seen last when the limit is reached. What can't be watched is looked at often.

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

/// Long enough for anything that a cluster with work to do takes to happen, but for the fetcher's own back-off.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Time between two looks at what can't be watched.
const LOOK: Duration = Duration::from_millis(50);

/// An object in one line, for messages.
pub trait Describe {
    /// What a person needs to see to know why the wait was in vain.
    fn describe(&self) -> String;
}

/// Waits until `holds` is true of the object called `name`, and gives the object as it then was (`None`: it is gone).
///
/// `what` completes the message "waited for …".
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
            // Errors of a watch pass, or show up as the limit being reached.
            let Some(object) = changes.try_next().await.unwrap_or_default() else { continue };
            last = object.as_ref().map_or_else(|| format!("no {name}"), Describe::describe);
            if holds(object.as_ref()) {
                return object;
            }
        }
    };
    match tokio::time::timeout(limit, watch).await {
        Ok(object) => Ok(object),
        Err(_) => bail!("waited {} s for {what}; last seen: {last}", limit.as_secs()),
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

/// Waits until `holds`, which nothing tells but a look at it. A look that fails says that it does not hold yet.
///
/// `what` completes the message "waited for …".
pub async fn until_so<F>(what: &str, mut holds: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    until_found(what, || holds().map_ok(|holds| holds.then_some(()))).await
}

/// As [`until_so`], for what a look finds.
pub async fn until_found<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut seen = "no answer".to_owned();
    let looks = async {
        loop {
            seen = match look().await {
                Ok(Some(found)) => return found,
                Ok(None) => "not yet".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looks).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("waited {} s for {what}; the last look said: {seen}", PATIENCE.as_secs()),
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
        let leaving = if self.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .and_then(|condition| condition.message.as_deref());
        format!(
            "pod {}: {}{leaving}; {}{}",
            self.name_any(),
            status.phase.as_deref().unwrap_or("no phase"),
            containers.join("; "),
            unscheduled.map(|why| format!("; not scheduled: {why}")).unwrap_or_default(),
        )
    }
}

/// A container's state in one phrase.
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
    fn a_pod_tells_the_state_of_all_its_containers() {
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
    fn a_pod_that_found_no_node_says_why() {
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
