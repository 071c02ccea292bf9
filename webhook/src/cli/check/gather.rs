//! Asks the API server for the evidence. Decides nothing, and leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use axum::http::Request;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use workflow_contract::condition::{WORKFLOW_RECONCILED, reason};
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, INIT_CONTAINER, INJECTOR, INJECTOR_SELECTOR, RUNNER_CONTAINER, SESSION_GROUP,
    SESSION_KIND, SESSION_LABEL, SESSION_VERSION, runner_pod,
};

use super::evidence::{DryRun, Evidence, FailedSession, Told, Unpulled};
use super::judge::{certificate_secret, is_self_managed, list};
use super::rights::{RIGHTS, Right};
use super::{Options, Scope};
use crate::cli::untyped;
use crate::session::AgenticSession;
use crate::status::condition::is_own_reason;
use crate::status::outcome::NO_IMAGE;

/// Name of the session that the dry-run pod claims; it must not exist.
const NO_SESSION: &str = "workflow-injector-check";
/// How many objects are read at a time.
const PAGE: u32 = 500;
/// How long a replica may take to tell of itself.
const TELL: Duration = Duration::from_secs(3);

/// Looks at everything that the options ask for.
///
/// # Errors
/// What could not be looked at, such as for lack of rights.
pub async fn gather(client: &Client, options: &Options) -> anyhow::Result<Evidence> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get_opt(INJECTOR).await.context("failed to read the namespace")?;
    let deployment = untyped::<Deployment>(client, INJECTOR).get_opt(INJECTOR).await;
    let deployment = deployment.context("failed to read the Deployment")?;
    let ours = ListParams::default().labels(INJECTOR_SELECTOR);
    let pods = untyped::<Pod>(client, INJECTOR).list(&ours).await;
    let pods = pods.context("failed to list the injector's pods")?.items;
    let mut evidence = Evidence {
        namespace_uid: namespace.and_then(|found| found.uid()),
        told: told(client, &pods).await,
        endpoints: endpoints(client).await?,
        secret: secret(client, deployment.as_ref()).await?,
        config: config(client).await?,
        denied: denied(client, is_self_managed(deployment.as_ref())).await?,
        deployment,
        pods,
        ..Evidence::default()
    };
    if options.scope != Scope::BeforeRegistration {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let found = registrations.get_opt(INJECTOR).await.context("failed to read the registration")?;
        evidence.registration = Some(found);
        evidence.dry_run = Some(dry_run(client, &options.namespace).await?);
        evidence.unpulled = unpulled(client).await?;
    }
    if options.scope == Scope::Everything {
        let (failed, restarts) = sessions(client).await?;
        (evidence.sessions, evidence.restarts) = (Some(failed), restarts);
    }
    Ok(evidence)
}

async fn secret(client: &Client, deployment: Option<&DynamicObject>) -> anyhow::Result<Option<Secret>> {
    let Some(name) = certificate_secret(deployment) else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), INJECTOR);
    secrets.get_opt(&name).await.context("failed to read the Secret with the certificate")
}

async fn config(client: &Client) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), INJECTOR);
    let found = maps.get_opt(INJECTOR).await.context("failed to read the ConfigMap")?;
    Ok(found.and_then(|map| map.data?.remove("config.yaml")))
}

/// Ready endpoints of the Service, of whatever address family: each is counted once.
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
        // Absent means ready, says the API.
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != json!(false);
        if has_port { list(&slice.data["endpoints"]).iter().filter(ready).count() } else { 0 }
    };
    let by_family = slices.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<_, usize>, slice| {
        *counts.entry(slice.data["addressType"].to_string()).or_default() += ready(slice);
        counts
    });
    Ok(Some(by_family.into_values().max().unwrap_or_default()))
}

/// Asks what the injector's account may not do.
async fn denied(client: &Client, self_managed: bool) -> anyhow::Result<Vec<(Right, &'static str)>> {
    let needed = RIGHTS.iter().filter(|right| self_managed || !right.is_of_own_certificates());
    let asked = needed.flat_map(|right| right.verbs.iter().map(move |verb| (*right, *verb)));
    let answers = asked.map(async |(right, verb)| {
        let body = right.question(verb).to_string().into_bytes();
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("Content-Type", "application/json")
            .body(body)
            .context("failed to make a request")?;
        let answer: Value = client.request(request).await.context(
            "failed to ask what the injector's account may do; run this with an admin's KUBECONFIG",
        )?;
        anyhow::Ok((answer["status"]["allowed"] != json!(true)).then_some((right, verb)))
    });
    Ok(try_join_all(answers).await?.into_iter().flatten().collect())
}

/// Asks each replica about itself, through the API server. Not every cluster lets it reach that port.
async fn told(client: &Client, pods: &[DynamicObject]) -> BTreeMap<String, Told> {
    let here = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let asked = here.filter_map(|pod| Some((pod.name_any(), ops_port(pod)?)));
    let answers = asked.map(async |(pod, port)| {
        let base = format!("/api/v1/namespaces/{INJECTOR}/pods/{pod}:{port}/proxy");
        let ask = async |path: &str| {
            let request = Request::get(format!("{base}{path}")).body(Vec::new()).ok()?;
            tokio::time::timeout(TELL, client.request_text(request)).await.ok()
        };
        let metrics = ask("/metrics").await?.ok()?;
        let missing = match ask("/readyz").await? {
            Err(kube::Error::Api(status)) if status.code == 503 => Some(status.message.clone()),
            _ => None,
        };
        Some((pod, Told { missing, ..Told::from_metrics(&metrics) }))
    });
    join_all(answers).await.into_iter().flatten().collect()
}

fn ops_port(pod: &DynamicObject) -> Option<u64> {
    let containers = list(&pod.data["spec"]["containers"]).iter();
    let mut ports = containers.flat_map(|container| list(&container["ports"]));
    ports.find(|port| port["name"] == "ops")?["containerPort"].as_u64()
}

/// Session pods that wait for the init container's image now.
async fn unpulled(client: &Client) -> anyhow::Result<Vec<Unpulled>> {
    let resource = ApiResource::erase::<Pod>(&());
    let pods: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let waiting = ListParams::default()
        .labels(&format!("{APP_LABEL}={APP_LABEL_VALUE}"))
        .fields("status.phase=Pending");
    let mut found = Vec::new();
    each(&pods, waiting, "session pods", |pod: DynamicObject| {
        let image = list(&pod.data["status"]["initContainerStatuses"]).iter().find_map(unpulled_image);
        found.extend(image.map(|image| Unpulled { pod: full_name(&pod), image }));
    })
    .await?;
    Ok(found)
}

fn unpulled_image(status: &Value) -> Option<String> {
    let reason = status["state"]["waiting"]["reason"].as_str()?;
    let cant = NO_IMAGE.contains(&reason) && status["name"] == INIT_CONTAINER;
    cant.then(|| status["image"].as_str().unwrap_or_default().to_owned())
}

/// Lists the sessions whose workflow failed, newest first, and those that need a restart.
async fn sessions(client: &Client) -> anyhow::Result<(Vec<FailedSession>, Vec<String>)> {
    let api: Api<AgenticSession> = Api::all(client.clone());
    let (mut failed, mut restarts) = (Vec::new(), Vec::new());
    let read = each(&api, ListParams::default(), "sessions", |session: AgenticSession| {
        if let Some(found) = unsuccessful(&session) {
            if found.reason == reason::RESTART_REQUIRED {
                restarts.push(found.session);
            } else {
                failed.push(found);
            }
        }
    });
    match read.await {
        // The platform is not installed (yet).
        Err(error) if error.downcast_ref::<kube::Error>().is_some_and(is_not_found) => {}
        read => read?,
    }
    failed.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.session.cmp(&b.session)));
    restarts.sort();
    Ok((failed, restarts))
}

/// By its code: of a kind that is not served the API server says no more than "404 page not found".
fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Returns a session with a condition of ours that is False.
fn unsuccessful(session: &AgenticSession) -> Option<FailedSession> {
    let here = session.metadata.deletion_timestamp.is_none() && !session.opted_out();
    let condition = session.condition(WORKFLOW_RECONCILED).filter(|_| here)?;
    let reason = condition.reason.as_deref().unwrap_or_default();
    let failed = condition.status == "False" && is_own_reason(reason);
    failed.then(|| FailedSession {
        session: full_name(session),
        reason: reason.to_owned(),
        message: condition.message.clone().unwrap_or_default(),
        since: condition.last_transition_time,
    })
}

fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Reads all objects, page by page, and keeps none.
async fn each<K>(api: &Api<K>, params: ListParams, what: &str, mut take: impl FnMut(K)) -> anyhow::Result<()>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await.with_context(|| format!("failed to list {what}"))?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        page.items.into_iter().for_each(&mut take);
        let Some(next) = next else { return Ok(()) };
        params.continue_token = Some(next);
    }
}

/// Creates a session-like pod with `dryRun`, which leaves nothing behind.
async fn dry_run(client: &Client, namespace: &str) -> anyhow::Result<DryRun> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod: DynamicObject = serde_json::from_value(session_pod()).context("failed to make a pod")?;
    match untyped::<Pod>(client, namespace).create(&params, &pod).await {
        Ok(_) => Ok(DryRun::Accepted),
        Err(kube::Error::Api(status)) => {
            Ok(DryRun::Refused { code: status.code, message: status.message.clone() })
        }
        Err(error) => Err(error).context("failed to reach the API server"),
    }
}

/// A pod as the operator makes it for a session with a workflow, as far as selectors and rules look.
/// It would be admitted under Pod Security `restricted`.
fn session_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": runner_pod(NO_SESSION),
            "labels": {APP_LABEL: APP_LABEL_VALUE, SESSION_LABEL: NO_SESSION},
            "ownerReferences": [{
                "apiVersion": format!("{SESSION_GROUP}/{SESSION_VERSION}"),
                "kind": SESSION_KIND,
                "name": NO_SESSION,
                "uid": "00000000-0000-0000-0000-000000000000",
                "controller": true,
            }],
        },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": RUNNER_CONTAINER,
                "image": "none",
                "env": [{"name": ACTIVE_WORKFLOW_GIT_URL, "value": "https://example.invalid/none"}],
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
