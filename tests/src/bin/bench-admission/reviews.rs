//! Reviews as an API server sends them: of pods with its defaults, from dry runs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::session::{self, Session, SessionBuilder};

/// Namespace of the sessions.
pub const NAMESPACE: &str = "bench";

/// Sessions in the namespace, all of them in the injector's caches.
const SESSIONS: usize = 1000;

/// Sessions whose pods are reviewed.
const REVIEWED: usize = 50;

/// Requests to the API server at once.
const AT_ONCE: usize = 16;

pub struct Reviews {
    /// One review a line.
    pub file: PathBuf,
    /// The sessions that are reviewed, a JSON list.
    pub sessions: PathBuf,
    pub first: String,
    /// Bytes of the smallest and of the largest.
    pub sizes: (usize, usize),
}

/// Fills the namespace with sessions and makes reviews of some.
pub async fn make(namespace: &TestNamespace, state: &Path) -> anyhow::Result<Reviews> {
    let api = session::api(namespace.cluster.client.clone(), &namespace.name);
    let sessions: Vec<Session> =
        stream::iter(0..SESSIONS).map(|at| create(&api, at)).buffered(AT_ONCE).try_collect().await?;
    let reviewed = &sessions[..REVIEWED];
    let all: Vec<String> = stream::iter(reviewed)
        .map(|session| review(namespace, session))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;

    let sizes = (all.iter().map(String::len).min(), all.iter().map(String::len).max());
    let (Some(smallest), Some(largest)) = sizes else { anyhow::bail!("there are no reviews") };
    ensure!(all.iter().all(|review| !review.contains('\n')), "reviews are one line each");
    let file = state.join("reviews.jsonl");
    std::fs::write(&file, all.join("\n"))?;
    let stored = state.join("sessions.json");
    std::fs::write(&stored, serde_json::to_vec(reviewed)?)?;
    let first = all.into_iter().next().unwrap_or_default();
    Ok(Reviews { file, sessions: stored, first, sizes: (smallest, largest) })
}

/// A session whose first run has begun, with what its user and the operator write.
async fn create(api: &Api<Session>, at: usize) -> anyhow::Result<Session> {
    let name = format!("session-{at:04}");
    let built = SessionBuilder::new(&name)
        .workflow_path("https://git.example/org/flows.git", "main", &format!("flows/review-{at}"))
        .variable("TICKET", &format!("https://tickets.example/browse/{at}"))
        .build();
    api.create(&PostParams::default(), &built).await.context("create a session")?;
    let now = "2026-01-02T03:04:05Z";
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "Ok", "message": format!("{kind} as asked for"),
                "lastTransitionTime": now, "observedGeneration": 1 })
    };
    let kinds = ["SecretsReady", "S3Available", "ReposReconciled", "PodCreated"];
    let conditions: Vec<Value> = kinds.map(condition).into();
    let status = json!({ "status": { "phase": "Pending", "startTime": now, "conditions": conditions } });
    let patch = Patch::Merge(status);
    api.patch_status(&name, &PatchParams::default(), &patch).await.context("begin a session")
}

/// The review of a session's pod.
async fn review(namespace: &TestNamespace, session: &Session) -> anyhow::Result<String> {
    let pod = session_pod(session, &Settings::new("registry.example/ambient/runner:1.2.3"));
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All&fieldManager=operator", namespace.name);
    let request =
        Request::post(path).header("Content-Type", "application/json").body(pod.to_string().into_bytes())?;
    let stored = namespace.cluster.client.request_text(request).await.context("dry run of a pod")?;
    let mut pod: Value = serde_json::from_str(&stored)?;
    let mut uid = "0f0f0f0f-0000-4000-8000-".to_owned();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    write!(uid, "{:012x}", name.bytes().fold(0_u64, |sum, byte| sum * 31 % 0xffff_ffff + u64::from(byte)))?;
    // The first two are set after admission; the third is not evaluated and would be a third of the review.
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        for field in ["uid", "creationTimestamp", "managedFields"] {
            metadata.remove(field);
        }
    }
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let user = "system:serviceaccount:ambient-code:agentic-operator";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:ambient-code", "system:authenticated"];
    let request = json!({
        "uid": uid, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": name, "namespace": namespace.name, "operation": "CREATE", "object": pod, "oldObject": null,
        "userInfo": { "username": user, "uid": "a1a1a1a1-0000-4000-8000-000000000001", "groups": groups },
        "dryRun": false, "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
    });
    let kind = "AdmissionReview";
    Ok(json!({ "kind": kind, "apiVersion": "admission.k8s.io/v1", "request": request }).to_string())
}
