//! The handler, called without a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use futures::future::BoxFuture;
use json_patch::Patch;
use k8s_openapi::ByteString;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tower::ServiceExt;
use workflow_injector::admission::lookup::{LookupError, SessionLookup, SessionReader};
use workflow_injector::admission::{Admission, MAX_BODY};
use workflow_injector::metrics::Metrics;
use workflow_injector::session::AgenticSession;

use crate::fixtures::{NAMESPACE, injected, pod, session, with};

/// Returns one session, or fails.
struct Api(Result<Value, String>);

impl SessionReader for Api {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
        Box::pin(async move {
            let session = self.0.clone().map_err(LookupError::Permanent)?;
            let known = session["metadata"]["namespace"] == namespace && session["metadata"]["name"] == name;
            Ok(known.then(|| Arc::new(serde_json::from_value(session).unwrap())))
        })
    }
}

pub fn router(api: Result<Value, String>) -> (Router, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let sessions = SessionLookup::new(Arc::new(Api(api)), None);
    (Admission::new(sessions, Arc::default(), Arc::clone(&metrics)).router(), metrics)
}

/// A router whose live lookup fails, with or without a cached copy of a session.
pub fn router_with_copy(copy: Option<Value>) -> (Router, Arc<Metrics>) {
    let (store, mut writer) = reflector::store();
    if let Some(session) = copy {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(session).unwrap()));
    }
    let metrics = Arc::new(Metrics::default());
    let sessions = SessionLookup::new(Arc::new(Api(Err("down".into()))), Some(store));
    (Admission::new(sessions, Arc::default(), Arc::clone(&metrics)).router(), metrics)
}

pub async fn post(router: &Router, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    let request = Request::post("/mutate").body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec())
}

pub fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "review-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "userInfo": {"username": "operator"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

async fn response(router: &Router, review: &Value) -> Value {
    let (status, body) = post(router, review.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let response: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(response["response"]["uid"], "review-1");
    response["response"].clone()
}

#[tokio::test]
async fn responds_to_session_pod_with_its_patch() {
    let (router, metrics) = router(Ok(session()));
    let response = response(&router, &review(&pod())).await;
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let ByteString(patch) = serde_json::from_value(response["patch"].clone()).unwrap();
    let mut patched = pod();
    let patch: Patch = serde_json::from_slice(&patch).unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, injected(&pod(), &session()));
    let counted = r#"workflow_injector_admission_decisions_total{outcome="injected"} 1"#;
    assert!(metrics.encode().unwrap().contains(counted));
}

#[tokio::test]
async fn responds_to_patched_pod_without_a_patch() {
    let (router, _) = router(Ok(session()));
    let response = response(&router, &review(&injected(&pod(), &session()))).await;
    assert_eq!(response, json!({"uid": "review-1", "allowed": true}));
}

#[tokio::test]
async fn admits_other_objects_even_if_no_session_can_be_read() {
    let (router, _) = router(Err("down".into()));
    let unlabelled = with(pod(), [("/metadata/labels", Value::Null)]);
    let mut update = review(&pod());
    update["request"]["operation"] = json!("UPDATE");
    let mut other_kind = review(&json!({"kind": "Secret"}));
    other_kind["request"]["kind"]["kind"] = json!("Secret");
    for review in [review(&unlabelled), review(&Value::Null), update, other_kind] {
        assert_eq!(response(&router, &review).await, json!({"uid": "review-1", "allowed": true}));
    }
}

#[tokio::test]
async fn denial_is_a_review_with_a_message() {
    let orphan = with(session(), [("/metadata/name", json!("other"))]);
    for (api, code, words) in
        [(Ok(orphan), 403, "no AgenticSession"), (Err("forbidden".to_owned()), 503, "(forbidden)")]
    {
        let (router, _) = router(api);
        let response = response(&router, &review(&pod())).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(code)));
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn invalid_source_results_in_a_warning() {
    let session = with(session(), [("/spec/activeWorkflow/gitUrl", json!("ftp://u:s3cret@h/r"))]);
    let (router, _) = router(Ok(session));
    let response = response(&router, &review(&pod())).await;
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains("ftp://h/r") && !warning.contains("s3cret"), "{warning}");
}

#[tokio::test]
async fn malformed_bodies_get_400_and_a_message() {
    let (router, metrics) = router(Ok(session()));
    for body in ["", "{", "[]", "{}", r#"{"apiVersion":"v1","kind":"Pod"}"#] {
        let (status, message) = post(&router, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(!message.is_empty());
    }
    assert!(metrics.encode().unwrap().contains(r#"{outcome="malformed"} 5"#));
}

#[tokio::test]
async fn injects_pod_of_3_mb() {
    let env: Vec<Value> =
        (0..3000).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(1000)})).collect();
    let pod = with(pod(), [("/spec/containers/1/env", json!(env))]);
    let (router, _) = router(Ok(session()));
    assert!(response(&router, &review(&pod)).await["patch"].is_string());
}

#[tokio::test]
async fn body_above_the_limit_gets_413_with_or_without_length() {
    let (router, _) = router(Ok(session()));
    let body = vec![b' '; MAX_BODY + 1];
    let chunks =
        body.chunks(1 << 20).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    for body in [Body::from(body), Body::from_stream(futures::stream::iter(chunks))] {
        let (status, message) = post(&router, body).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(String::from_utf8(message).unwrap().contains("8388608"));
    }
}

#[tokio::test]
async fn only_post_to_mutate_is_served() {
    let (router, _) = router(Ok(session()));
    for (method, path, status) in [("GET", "/mutate", 405), ("POST", "/", 404), ("POST", "/mutate/x", 404)] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status);
    }
}

/// Never responds.
struct Hangs;

impl SessionReader for Hangs {
    fn read<'a>(
        &'a self,
        _namespace: &'a str,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn all_waits_of_a_review_end_before_the_api_servers_timeout() {
    let limit = Duration::from_millis(4500);
    let router =
        Admission::new(SessionLookup::new(Arc::new(Hangs), None), Arc::default(), Arc::default()).router();
    // A large body arrives late, then the lookup hangs.
    let text = review(&with(pod(), [("/metadata/labels/x", json!("x".repeat(20_000)))])).to_string();
    let late = async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(text)
    };
    let start = tokio::time::Instant::now();
    let (status, body) = post(&router, Body::from_stream(futures::stream::once(late))).await;
    assert_eq!(status, StatusCode::OK);
    let response: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(response["response"]["status"]["code"], 503);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());

    let start = tokio::time::Instant::now();
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    assert_eq!(post(&router, Body::from_stream(never)).await.0, StatusCode::REQUEST_TIMEOUT);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());

    // More reviews than permits: those without one are denied before those with one.
    let all = (0..300).map(|_| {
        let router = router.clone();
        async move {
            let start = tokio::time::Instant::now();
            post(&router, review(&pod()).to_string()).await;
            start.elapsed()
        }
    });
    let longest = futures::future::join_all(all).await.into_iter().max().unwrap();
    assert!(longest < limit, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn large_bodies_delay_no_small_review() {
    let (router, _) = router(Ok(session()));
    let start = tokio::time::Instant::now();
    let mut large: futures::stream::FuturesUnordered<_> = (0..20)
        .map(|_| {
            post(&router, Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()))
        })
        .collect();
    let first = futures::StreamExt::next(&mut large).await.unwrap();
    assert_eq!((first.0, start.elapsed() < Duration::from_secs(1)), (StatusCode::SERVICE_UNAVAILABLE, true));
    let start = tokio::time::Instant::now();
    assert!(response(&router, &review(&pod())).await["patch"].is_string());
    assert_eq!(start.elapsed(), Duration::ZERO);
}
