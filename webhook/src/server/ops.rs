//! Probes and metrics over plain HTTP: `/healthz`, `/readyz`, `/metrics`.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{self, Metrics};

/// A condition of readiness; returns the reason while it is not met.
type ReadinessCheck = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Updates gauges before metrics are encoded.
type GaugeUpdate = Box<dyn Fn(&Metrics) + Send + Sync>;

#[derive(Default)]
pub struct Ops {
    metrics: Arc<Metrics>,
    conditions: Vec<ReadinessCheck>,
    before_metrics: Vec<GaugeUpdate>,
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").field("conditions", &self.conditions.len()).finish_non_exhaustive()
    }
}

impl Ops {
    /// Serves these metrics; ready as long as no condition is added.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Adds a condition of readiness; the reasons of those not met are the body of the response.
    #[must_use]
    pub fn ready_when(mut self, missing: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.conditions.push(Box::new(missing));
        self
    }

    /// Adds a function that updates gauges, called before metrics are encoded.
    #[must_use]
    pub fn before_metrics(mut self, record: impl Fn(&Metrics) + Send + Sync + 'static) -> Self {
        self.before_metrics.push(Box::new(record));
        self
    }

    /// Routes. Tests call them without a socket.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }
}

async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    let missing: Vec<String> = ops.conditions.iter().filter_map(|condition| condition()).collect();
    if missing.is_empty() {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n")).into_response()
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    for record in &ops.before_metrics {
        record(&ops.metrics);
    }
    match ops.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_lists_every_unmet_condition() {
        let synced = Arc::new(AtomicBool::new(false));
        let observed = Arc::clone(&synced);
        let router = Ops::new(Arc::default())
            .ready_when(move || (!observed.load(Ordering::Relaxed)).then(|| "sessions not listed yet".into()))
            .ready_when(|| None)
            .router();
        let unavailable = (StatusCode::SERVICE_UNAVAILABLE, "sessions not listed yet".to_owned());
        assert_eq!(get(&router, "/readyz").await, unavailable);
        assert_eq!(get(&router, "/healthz").await, (StatusCode::OK, "ok".to_owned()));
        synced.store(true, Ordering::Relaxed);
        assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn updates_gauges_before_metrics_are_encoded() {
        let router =
            Ops::new(Arc::default()).before_metrics(|metrics| metrics.config_is_current(false)).router();
        let (status, text) = get(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("workflow_injector_config_current 0"), "{text}");
    }
}
