//! The HTTP handler: decodes, calls the pure functions, and encodes.
//!
//! Pods that are not session pods are admitted without a lookup.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use workflow_contract::names::DENIAL_PREFIX;

use super::lookup::SessionLookup;
use super::patch;
use super::plan::{self, Decision, Denial, Skip};
use super::review::{self, AdmissionResponse};
use crate::config::Config;
use crate::metrics::Metrics;

/// Largest body in bytes. etcd stores objects up to 1.5 MiB by default, and a review contains little else.
pub const MAX_BODY: usize = 8 << 20;

/// Longest time that one review waits for its body, permits and the session. API servers cancel the call after
/// `timeoutSeconds`, 5 s, and a denial with a reason must arrive before.
pub const REVIEW_TIMEOUT: Duration = Duration::from_millis(4300);

/// Longest wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Limit on concurrent lookups.
const LOOKUPS: usize = 256;

/// Limit on concurrent reviews of large bodies, which bounds memory. For others the limit on connections suffices.
const LARGE_BODIES: usize = 4;
const LARGE_BODY: usize = 64 << 10;

/// The state of the handler.
pub struct Admission {
    sessions: SessionLookup,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    lookups: Semaphore,
    large_bodies: Semaphore,
}

impl Admission {
    /// `config` may be swapped at any time; each review uses one version of it.
    #[must_use]
    pub fn new(sessions: SessionLookup, config: Arc<ArcSwap<Config>>, metrics: Arc<Metrics>) -> Self {
        let (lookups, large_bodies) = (Semaphore::new(LOOKUPS), Semaphore::new(LARGE_BODIES));
        Self { sessions, config, metrics, lookups, large_bodies }
    }

    /// Routes: `POST /mutate`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/mutate", post(mutate))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(self))
    }

    async fn body(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Rejection> {
        let length = request.body().size_hint().exact();
        let length = length.map_or(MAX_BODY, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let permit = match length {
            ..LARGE_BODY => None,
            LARGE_BODY..=MAX_BODY => Some(acquire(&self.large_bodies, deadline).await.ok_or_else(|| {
                (StatusCode::SERVICE_UNAVAILABLE, "too many large bodies at once; try again".to_owned())
            })?),
            _ => return Err(too_large()),
        };
        match timeout_at(deadline, Bytes::from_request(request, &())).await {
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned())),
            Ok(Ok(body)) => Ok((body, permit)),
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body ended early".to_owned())),
        }
    }

    async fn decide(&self, request: &review::Request, deadline: Instant) -> HandledReview {
        if !request.creates_pod() {
            return HandledReview::skipped(Skip::NotAPodCreation, "");
        }
        let owner = match plan::owner(request.object()) {
            Ok(owner) => owner,
            Err(skip) => return HandledReview::skipped(skip, ""),
        };
        let Some(_permit) = acquire(&self.lookups, deadline).await else {
            return HandledReview::denied(busy(), owner.name);
        };
        let lookup = self.sessions.find(request.namespace(), owner, deadline).await;
        match plan::decide(owner, request.namespace(), &lookup) {
            Decision::Skip(skip) => HandledReview::skipped(skip, owner.name),
            Decision::Deny(denial) => HandledReview::denied(denial, owner.name),
            Decision::Inject(plan) => {
                let config = self.config.load();
                let patch = patch::patch(request.object(), &plan, &config);
                let name = if patch.is_empty() { "unchanged" } else { "injected" };
                let warnings = plan.source_error(&config.policy()).into_iter().collect();
                let response = AdmissionResponse { patch, warnings, denial: None };
                HandledReview { name, reason: String::new(), session: owner.name.to_owned(), response }
            }
        }
    }
}

/// Waits for a permit; `None` if there is none in time.
async fn acquire(permits: &Semaphore, deadline: Instant) -> Option<SemaphorePermit<'_>> {
    let deadline = deadline.min(Instant::now() + PERMIT_TIMEOUT);
    timeout_at(deadline, permits.acquire()).await.ok()?.ok()
}

/// A response, with the values of its metric and log message.
struct HandledReview {
    name: &'static str,
    reason: String,
    session: String,
    response: AdmissionResponse,
}

impl HandledReview {
    fn skipped(skip: Skip, session: &str) -> Self {
        Self {
            name: "skipped",
            reason: skip.to_string(),
            session: session.to_owned(),
            response: AdmissionResponse::default(),
        }
    }

    fn denied(denial: Denial, session: &str) -> Self {
        let (reason, session) = (denial.cause.to_owned(), session.to_owned());
        // The value of the metric's label is public interface.
        Self {
            name: "refused",
            reason,
            session,
            response: AdmissionResponse { denial: Some(denial), ..AdmissionResponse::default() },
        }
    }
}

fn busy() -> Denial {
    let message = format!("{DENIAL_PREFIX}too many sessions are looked up at once; create the pod again");
    Denial { code: 503, message, cause: "too many lookups" }
}

/// Status and message for a request that is no review.
type Rejection = (StatusCode, String);

fn too_large() -> Rejection {
    (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than the limit, {MAX_BODY} bytes"))
}

async fn mutate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    let start = Instant::now();
    let deadline = start + REVIEW_TIMEOUT;
    let read = async {
        let (body, permit) = admission.body(request, deadline).await?;
        let request = review::parse(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        Ok((request, permit))
    };
    let (request, _permit) = match read.await {
        Ok(read) => read,
        Err(rejection) => return rejected(&admission, start, rejection),
    };
    let handled = admission.decide(&request, deadline).await;
    let rendered = match review::render(request.uid(), &handled.response) {
        Ok(rendered) => rendered,
        Err(error) => {
            return rejected(&admission, start, (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
        }
    };
    let duration = start.elapsed();
    admission.metrics.decided(handled.name, duration);
    log(&request, &handled, duration);
    ([(header::CONTENT_TYPE, "application/json")], rendered).into_response()
}

fn rejected(admission: &Admission, start: Instant, (status, message): Rejection) -> Response {
    admission.metrics.decided("malformed", start.elapsed());
    tracing::warn!(status = status.as_u16(), reason = %message, "request rejected");
    (status, message).into_response()
}

fn log(request: &review::Request, handled: &HandledReview, duration: Duration) {
    let (uid, namespace, pod) = (request.uid(), request.namespace(), request.pod_name());
    let HandledReview { name, reason, session, response } = handled;
    let (warning, duration_us) = (response.warnings.first(), duration.as_micros());
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                uid,
                namespace,
                pod,
                session,
                outcome = name,
                reason,
                warning,
                duration_us,
                "admission review handled"
            )
        };
    }
    if response.denial.is_some() {
        event!(warn);
    } else {
        event!(info);
    }
}
