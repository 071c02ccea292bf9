//! The replicas are ready, reached through the Service, and of one version.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use axum::http::Request;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, INJECTOR_SELECTOR};

use super::result::{CheckResult, list};
use crate::cli::untyped::untyped;
use crate::status::outcome::NO_IMAGE;

/// Version of this program and of the manifests in it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Timeout of a request to a replica.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The objects of the installation that several lines need.
#[derive(Debug, Default)]
pub struct InstalledObjects {
    pub deployment: Option<DynamicObject>,
    pub pods: Vec<DynamicObject>,
    /// By pod; replicas that did not respond are absent.
    pub reports: BTreeMap<String, ReplicaReport>,
    /// Ready endpoints of the Service; `None` if there is no Service.
    pub endpoints: Option<usize>,
}

/// The state that a replica reports on its port for probes and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaReport {
    pub version: Option<String>,
    pub config_current: Option<bool>,
    pub certificate_current: Option<bool>,
    /// When the served certificate expires.
    pub expires: Option<Timestamp>,
    /// The reason why it is not ready.
    pub unready: Option<String>,
}

impl InstalledObjects {
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let deployment = untyped::<Deployment>(client, INJECTOR).get_opt(INJECTOR).await;
        let ours = ListParams::default().labels(INJECTOR_SELECTOR);
        let pods = untyped::<Pod>(client, INJECTOR).list(&ours).await;
        let pods = pods.context("failed to list the injector's pods")?.items;
        Ok(Self {
            deployment: deployment.context("failed to read the Deployment")?,
            reports: reports(client, &pods).await,
            endpoints: endpoints(client).await?,
            pods,
        })
    }

    pub fn replicas(&self) -> CheckResult {
        let Some(deployment) = &self.deployment else {
            return Err(format!("there is no Deployment {INJECTOR}; `make install` creates it"));
        };
        let (ready, wanted) = ready(deployment);
        if wanted > 0 && ready >= wanted {
            return Ok(format!("{ready} of {wanted} are ready"));
        }
        if wanted == 0 {
            return Err(format!(
                "it is scaled to 0; kubectl -n {INJECTOR} scale deployment {INJECTOR} --replicas=2"
            ));
        }
        let reason = self.pods.iter().find_map(waiting).or_else(|| {
            let mut unready =
                self.reports.iter().filter_map(|(pod, report)| Some((pod, report.unready.as_ref()?)));
            unready.next().map(|(pod, reason)| format!("{pod} reports: {reason}"))
        });
        let reason = reason.unwrap_or_else(|| format!("kubectl -n {INJECTOR} describe pods"));
        Err(format!("{ready} of {wanted} are ready; {reason}"))
    }

    pub fn service(&self) -> CheckResult {
        match self.endpoints {
            None => Err(format!("there is no Service {INJECTOR}; `make install` creates it")),
            Some(0) if self.deployment.as_ref().is_some_and(|deployment| ready(deployment).0 > 0) => {
                Err(format!(
                    "it has no endpoint though replicas are ready, its selector or port does not fit them; `make install` puts it back \
                 (kubectl -n {INJECTOR} describe service {INJECTOR})"
                ))
            }
            Some(0) => Err("it has no endpoint; see the line `replicas`".to_owned()),
            Some(count) => Ok(format!("ready endpoints: {count}")),
        }
    }

    pub fn versions(&self) -> CheckResult {
        let mut images: BTreeMap<&str, usize> = BTreeMap::new();
        let running = self.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        for container in running.flat_map(|pod| list(&pod.data["spec"]["containers"])) {
            *images.entry(container["image"].as_str().unwrap_or_default()).or_default() += 1;
        }
        let all: Vec<String> = images.iter().map(|(image, count)| format!("{count} of {image}")).collect();
        let rollout = format!("kubectl -n {INJECTOR} rollout status deployment/{INJECTOR}, or rollout undo");
        match images.len() {
            0 => return Err("no replica runs; see the line `replicas`".to_owned()),
            1 => {}
            _ => return Err(format!("two versions serve at once: {}; {rollout}", all.join(", "))),
        }
        let versions: BTreeSet<&str> =
            self.reports.values().filter_map(|report| report.version.as_deref()).collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        match versions[..] {
            [] => Ok(format!("all replicas run one image: {}", all.join(", "))),
            [VERSION] => Ok(format!("all replicas run {VERSION}: {}", all.join(", "))),
            [other] => Err(format!(
                "the replicas run {other}, this program is {VERSION}; check with the program of that version, or upgrade: `make install`"
            )),
            _ => Err(format!("two versions serve at once: {}; {rollout}", versions.join(", "))),
        }
    }
}

fn ready(deployment: &DynamicObject) -> (i64, i64) {
    let ready = deployment.data["status"]["readyReplicas"].as_i64().unwrap_or(0);
    (ready, deployment.data["spec"]["replicas"].as_i64().unwrap_or(1))
}

/// Returns the reason why a pod's container does not run, and the remedy.
fn waiting(pod: &DynamicObject) -> Option<String> {
    let statuses = list(&pod.data["status"]["containerStatuses"]);
    let (status, reason) =
        statuses.iter().find_map(|status| Some((status, status["state"]["waiting"]["reason"].as_str()?)))?;
    let name = pod.name_any();
    let remedy = if NO_IMAGE.contains(&reason) {
        let image = status["image"].as_str().unwrap_or_default();
        format!("its image {image} can't be pulled: correct the name, or the node's access to the registry")
    } else if reason == "CrashLoopBackOff" {
        format!("kubectl -n {INJECTOR} logs {name} --previous")
    } else {
        format!("kubectl -n {INJECTOR} describe pod {name}")
    };
    Some(format!("{name} waits with {reason}: {remedy}"))
}

/// Returns the containers of the pods that a Deployment creates.
pub fn containers(deployment: Option<&DynamicObject>) -> &[Value] {
    deployment
        .map(|deployment| list(&deployment.data["spec"]["template"]["spec"]["containers"]))
        .unwrap_or_default()
}

/// Counts the ready endpoints of the Service; with two address families each endpoint counts once.
async fn endpoints(client: &Client) -> anyhow::Result<Option<usize>> {
    let service = untyped::<Service>(client, INJECTOR).get_opt(INJECTOR).await;
    if service.context("failed to read the Service")?.is_none() {
        return Ok(None);
    }
    let slices = ListParams::default().labels(&format!("kubernetes.io/service-name={INJECTOR}"));
    let slices = untyped::<EndpointSlice>(client, INJECTOR).list(&slices).await;
    let slices = slices.context("failed to list the Service's EndpointSlices")?.items;
    let ready = |slice: &DynamicObject| {
        let has_port = !list(&slice.data["ports"]).is_empty();
        // By the API, absent means ready.
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != json!(false);
        if has_port { list(&slice.data["endpoints"]).iter().filter(ready).count() } else { 0 }
    };
    let by_family = slices.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<_, usize>, slice| {
        *counts.entry(slice.data["addressType"].to_string()).or_default() += ready(slice);
        counts
    });
    Ok(Some(by_family.into_values().max().unwrap_or_default()))
}

/// Reads the reports of the replicas through the API server, which not every cluster lets reach that port.
async fn reports(client: &Client, pods: &[DynamicObject]) -> BTreeMap<String, ReplicaReport> {
    let running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let ports = running.filter_map(|pod| Some((pod.name_any(), ops_port(pod)?)));
    let reports = ports.map(async |(pod, port)| {
        let base = format!("/api/v1/namespaces/{INJECTOR}/pods/{pod}:{port}/proxy");
        let get = async |path: &str| {
            let request = Request::get(format!("{base}{path}")).body(Vec::new()).ok()?;
            tokio::time::timeout(TIMEOUT, client.request_text(request)).await.ok()
        };
        let metrics = get("/metrics").await?.ok()?;
        let unready = match get("/readyz").await? {
            Err(kube::Error::Api(status)) if status.code == 503 => Some(status.message.clone()),
            _ => None,
        };
        Some((pod, ReplicaReport { unready, ..ReplicaReport::from_metrics(&metrics) }))
    });
    join_all(reports).await.into_iter().flatten().collect()
}

fn ops_port(pod: &DynamicObject) -> Option<u64> {
    let containers = list(&pod.data["spec"]["containers"]).iter();
    let mut ports = containers.flat_map(|container| list(&container["ports"]));
    ports.find(|port| port["name"] == "ops")?["containerPort"].as_u64()
}

impl ReplicaReport {
    fn from_metrics(text: &str) -> Self {
        let value = |name: &str| {
            let mut values =
                text.lines().filter_map(|line| line.strip_prefix("workflow_injector_")?.strip_prefix(name));
            values.next()
        };
        let number = |name: &str| value(name)?.trim().parse::<i64>().ok();
        Self {
            version: value("build_info{version=\"").and_then(|rest| Some(rest.split_once('"')?.0.to_owned())),
            config_current: number("config_current ").map(|current| current == 1),
            certificate_current: number("certificate_current ").map(|current| current == 1),
            expires: number("certificate_expiry_timestamp_seconds ")
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            unready: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn pod(image: &str, waiting: Option<&str>) -> DynamicObject {
        let state = waiting.map_or(json!({}), |reason| json!({"waiting": {"reason": reason}}));
        let status = json!({"containerStatuses": [{"name": "c", "image": image, "state": state}]});
        let spec = json!({"containers": [{"name": "c", "image": image}]});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec, "status": status})).unwrap()
    }

    fn sound(ready: i64) -> InstalledObjects {
        let deployment = json!({"metadata": {}, "spec": {"replicas": 2}, "status": {"readyReplicas": ready}});
        InstalledObjects {
            deployment: serde_json::from_value(deployment).unwrap(),
            pods: vec![pod("i:1", None), pod("i:1", None)],
            reports: [("p".to_owned(), report(VERSION))].into(),
            endpoints: Some(2),
        }
    }

    fn report(version: &str) -> ReplicaReport {
        ReplicaReport { version: Some(version.to_owned()), ..ReplicaReport::default() }
    }

    #[test]
    fn reports_why_replicas_are_not_ready() {
        assert_eq!(sound(2).replicas(), Ok("2 of 2 are ready".to_owned()));
        let pulls = InstalledObjects { pods: vec![pod("i:2", Some("ImagePullBackOff"))], ..sound(1) };
        let unready =
            ReplicaReport { unready: Some("no certificate loaded yet".to_owned()), ..report(VERSION) };
        let unready = InstalledObjects { reports: [("p".to_owned(), unready)].into(), ..sound(0) };
        for (installation, words) in [
            (pulls, "1 of 2 are ready; p waits with ImagePullBackOff: its image i:2 can't be pulled"),
            (unready, "0 of 2 are ready; p reports: no certificate loaded yet"),
            (sound(0), "0 of 2 are ready; kubectl"),
            (InstalledObjects { deployment: None, ..sound(2) }, "there is no Deployment"),
        ] {
            let problem = installation.replicas().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn the_service_must_have_endpoints() {
        assert!(sound(2).service().is_ok());
        for (endpoints, ready, words) in [
            (None, 2, "there is no Service"),
            (Some(0), 2, "its selector or port does not fit"),
            (Some(0), 0, "see the line `replicas`"),
        ] {
            let problem = InstalledObjects { endpoints, ..sound(ready) }.service().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn replicas_must_run_one_version_which_is_ours() {
        assert!(sound(2).versions().is_ok_and(|line| line.contains(VERSION)));
        let silent = InstalledObjects { reports: BTreeMap::new(), ..sound(2) };
        assert!(silent.versions().is_ok(), "not every cluster lets the API server reach that port");
        let two_images = InstalledObjects { pods: vec![pod("i:1", None), pod("i:2", None)], ..sound(2) };
        let two = [("p".to_owned(), report("1")), ("q".to_owned(), report("2"))].into();
        let other = [("p".to_owned(), report("0.0.1"))].into();
        for (installation, words) in [
            (two_images, "two versions serve at once: 1 of i:1, 1 of i:2"),
            (InstalledObjects { reports: two, ..sound(2) }, "two versions serve at once: 1, 2"),
            (InstalledObjects { reports: other, ..sound(2) }, "the replicas run 0.0.1"),
            (InstalledObjects { pods: vec![], ..sound(2) }, "no replica runs"),
        ] {
            let problem = installation.versions().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn reads_the_metrics_of_a_replica() {
        let (metrics, at) = (Metrics::default(), Timestamp::from_second(1_700_000_000).unwrap());
        metrics.certificate_expires(Some(at));
        metrics.certificate_is_current(true);
        metrics.config_is_current(false);
        let expected = ReplicaReport {
            config_current: Some(false),
            certificate_current: Some(true),
            expires: Some(at),
            ..report(VERSION)
        };
        assert_eq!(ReplicaReport::from_metrics(&metrics.encode().unwrap()), expected);
        assert_eq!(ReplicaReport::from_metrics("something else"), ReplicaReport::default());
    }
}
