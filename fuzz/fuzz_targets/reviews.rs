//! Any bytes as the body of a request: the handler responds with a review or with a message, and its patch applies.

#![no_main]

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use futures::future::{BoxFuture, ready};
use json_patch::Patch;
use k8s_openapi::ByteString;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower::ServiceExt;
use workflow_injector::admission::{Admission, review};
use workflow_injector::admission::lookup::{LookupError, SessionLookup, SessionReader};
use workflow_injector::session::AgenticSession;

/// Returns a session for any name.
struct Any(Arc<AgenticSession>);

impl SessionReader for Any {
    fn read<'a>(
        &'a self,
        _namespace: &'a str,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
        Box::pin(ready(Ok(Some(self.0.clone()))))
    }
}

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let session: AgenticSession = serde_json::from_str(include_str!("../../webhook/tests/data/session.json")).unwrap();
    let sessions = SessionLookup::new(Arc::new(Any(Arc::new(session))), None);
    Admission::new(sessions, Arc::default(), Arc::default()).router()
});

async fn respond(body: &[u8]) -> (StatusCode, Vec<u8>) {
    let request = Request::post("/mutate").body(Body::from(body.to_vec())).unwrap();
    let response = ROUTER.clone().oneshot(request).await.unwrap();
    (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

fn check(request: &[u8], status: StatusCode, body: &[u8]) {
    if status != StatusCode::OK {
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!body.is_empty(), "a rejection has a message");
        return;
    }
    let review: Value = serde_json::from_slice(body).unwrap();
    let response = &review["response"];
    assert!(response["allowed"] == true || response["status"]["message"].is_string());
    let patch = &response["patch"];
    if patch.is_null() {
        return;
    }
    assert_eq!(response["allowed"], true);
    let ByteString(patch) = serde_json::from_value(patch.clone()).unwrap();
    let patch: Patch = serde_json::from_slice(&patch).unwrap();
    let review = review::parse(request).unwrap();
    let mut pod = review.object().clone();
    json_patch::patch(&mut pod, &patch).unwrap();
}

fuzz_target!(|body: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (status, response) = runtime.block_on(respond(body));
    check(body, status, &response);
});
