//! config.yaml is valid and in use, and its image can be pulled.

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, INIT_CONTAINER, INJECTOR};

use super::replicas::ReplicaReport;
use super::result::{CheckResult, list};
use super::sessions::{for_each, full_name};
use crate::config;
use crate::status::outcome::NO_IMAGE;

/// A session pod that waits for the init container's image.
#[derive(Debug)]
pub struct Unpulled {
    /// `NAMESPACE/NAME`.
    pod: String,
    image: String,
}

/// Returns `config.yaml` of the ConfigMap.
pub async fn read(client: &Client) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), INJECTOR);
    let found = maps.get_opt(INJECTOR).await.context("failed to read the ConfigMap")?;
    Ok(found.and_then(|map| map.data?.remove("config.yaml")))
}

/// Reports whether this config.yaml sets `liveDelivery`.
pub fn has_live_delivery(config: Option<&str>) -> bool {
    config.and_then(|text| config::parse(text).ok()).is_some_and(|config| config.live_delivery)
}

/// Returns the session pods that wait for the init container's image now.
pub async fn unpulled(client: &Client) -> anyhow::Result<Vec<Unpulled>> {
    let pods: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Pod>(&()));
    let waiting = ListParams::default()
        .labels(&format!("{APP_LABEL}={APP_LABEL_VALUE}"))
        .fields("status.phase=Pending");
    let mut found = Vec::new();
    for_each(&pods, waiting, "session pods", |pod: DynamicObject| {
        let image = list(&pod.data["status"]["initContainerStatuses"]).iter().find_map(unpulled_image);
        found.extend(image.map(|image| Unpulled { pod: full_name(&pod), image }));
    })
    .await?;
    Ok(found)
}

fn unpulled_image(status: &Value) -> Option<String> {
    let reason = status["state"]["waiting"]["reason"].as_str()?;
    let waits = NO_IMAGE.contains(&reason) && status["name"] == INIT_CONTAINER;
    waits.then(|| status["image"].as_str().unwrap_or_default().to_owned())
}

pub fn judge<'a>(
    config: Option<&str>,
    reports: impl Iterator<Item = &'a ReplicaReport>,
    now: Timestamp,
) -> CheckResult {
    let edit = format!("kubectl -n {INJECTOR} edit configmap {INJECTOR}");
    let Some(text) = config else {
        return Err(format!("the ConfigMap {INJECTOR} has no config.yaml; `make install` creates it"));
    };
    let config = config::parse(text).map_err(|error| {
        format!("config.yaml is rejected, the last good one stays in use: {error}; {edit}")
    })?;
    let late = reports.filter(|report| report.config_current == Some(false)).count();
    if late > 0 {
        return Err(format!(
            "{late} replicas rejected their config.yaml; if this stays for more than two minutes: \
             kubectl -n {INJECTOR} logs deployment/{INJECTOR}"
        ));
    }
    let expired = config.key_warnings(now.as_second());
    if !expired.is_empty() {
        return Err(format!("{}; replace or remove the key: {edit}", expired.join("; ")));
    }
    Ok(format!("config.yaml is valid, the init container's image is {}", config.image))
}

/// Judges the image; `None` if no pod waits for it.
pub fn image(unpulled: &[Unpulled]) -> Option<CheckResult> {
    let Unpulled { pod, image } = unpulled.first()?;
    Some(Err(format!(
        "the init container's image {image} can't be pulled, {} pods wait for it, {pod} among them; correct \
         `image` in the ConfigMap {INJECTOR} or the nodes' access to the registry, then start these sessions again",
        unpulled.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_must_be_valid_and_in_use() {
        let judge = |config, current| {
            let report = ReplicaReport { config_current: Some(current), ..ReplicaReport::default() };
            judge(config, [report].iter(), Timestamp::UNIX_EPOCH)
        };
        assert!(judge(Some("image: f:1"), true).is_ok_and(|line| line.ends_with("image is f:1")));
        for (config, current, words) in [
            (Some("imagee: x"), true, "edit configmap"),
            (None, true, "has no config.yaml"),
            (Some("image: f:1"), false, "1 replicas rejected"),
        ] {
            let problem = judge(config, current).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn pods_that_wait_for_the_image_are_counted() {
        assert!(image(&[]).is_none());
        let waits = |pod: &str| Unpulled { pod: pod.to_owned(), image: "f:none".to_owned() };
        let problem = image(&[waits("a/s-runner"), waits("b/t-runner")]).unwrap().unwrap_err();
        assert!(problem.contains("f:none can't be pulled, 2 pods wait for it, a/s-runner"), "{problem}");
    }
}
