//! The HTTP handler: decodes, calls the pure functions, and encodes.
//!
//! Pods that are not session pods are admitted before anything is waited for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
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
use super::review::{self, Answer};
use crate::config::Config;
use crate::metrics::Metrics;

/// Largest body in bytes. etcd stores objects up to 1.5 MiB by default, and a review contains little else.
pub const MAX_BODY: usize = 8 << 20;

/// Longest time that one review spends waiting: for its body, for permits, for the session. API servers give
/// up after `timeoutSeconds`, 5 s, and a denial with a reason must arrive before.
pub const REVIEW_TIMEOUT: Duration = Duration::from_millis(4300);

/// Longest wait for permits.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Limit on concurrent reviews. A lookup takes one permit, a body one for each [`PERMIT_BYTES`], so that memory is
/// bounded; smaller bodies take none, as connections are limited.
const PERMITS: usize = 256;
const PERMIT_BYTES: usize = 64 << 10;

/// The state of the handler.
pub struct Admission {
    sessions: SessionLookup,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    permits: Semaphore,
}

impl Admission {
    /// `config` may be swapped at any time; each review uses one version of it.
    #[must_use]
    pub fn new(sessions: SessionLookup, config: Arc<ArcSwap<Config>>, metrics: Arc<Metrics>) -> Self {
        Self { sessions, config, metrics, permits: Semaphore::new(PERMITS) }
    }

    /// Routes: `POST /mutate`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/mutate", post(mutate))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(self))
    }

    async fn acquire(&self, permits: usize, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        let permits = u32::try_from(permits).ok()?;
        let deadline = deadline.min(Instant::now() + PERMIT_TIMEOUT);
        timeout_at(deadline, self.permits.acquire_many(permits)).await.ok()?.ok()
    }

    async fn body(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Rejection> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(MAX_BODY);
        if length > MAX_BODY {
            return Err(too_large());
        }
        let permit = match length / PERMIT_BYTES {
            0 => None,
            permits => {
                let busy =
                    (StatusCode::SERVICE_UNAVAILABLE, "too many large bodies at once; try again".to_owned());
                Some(self.acquire(permits, deadline).await.ok_or(busy)?)
            }
        };
        match timeout_at(deadline, Bytes::from_request(request, &())).await {
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned())),
            Ok(Ok(body)) => Ok((body, permit)),
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body ended early".to_owned())),
        }
    }

    async fn decide(&self, request: &review::Request, deadline: Instant) -> Outcome {
        if !request.creates_pod() {
            return Outcome::skipped(Skip::NotAPodCreation, "");
        }
        let owner = match plan::owner(request.object()) {
            Ok(owner) => owner,
            Err(skip) => return Outcome::skipped(skip, ""),
        };
        let Some(_permit) = self.acquire(1, deadline).await else {
            return Outcome::denied(busy(), owner.name);
        };
        let lookup = self.sessions.find(request.namespace(), owner, deadline).await;
        match plan::decide(owner, request.namespace(), &lookup) {
            Decision::Skip(skip) => Outcome::skipped(skip, owner.name),
            Decision::Deny(denial) => Outcome::denied(denial, owner.name),
            Decision::Inject(plan) => {
                let config = self.config.load();
                let patch = patch::patch(request.object(), &plan, &config);
                let name = if patch.is_empty() { "unchanged" } else { "injected" };
                let warnings = plan.source_error(&config.policy()).into_iter().collect();
                let answer = Answer { patch, warnings, denial: None };
                Outcome { name, reason: String::new(), session: owner.name.to_owned(), answer }
            }
        }
    }
}

/// The outcome of a review, with what is logged about it.
struct Outcome {
    name: &'static str,
    reason: String,
    session: String,
    answer: Answer,
}

impl Outcome {
    fn skipped(skip: Skip, session: &str) -> Self {
        Self {
            name: "skipped",
            reason: skip.to_string(),
            session: session.to_owned(),
            answer: Answer::default(),
        }
    }

    fn denied(denial: Denial, session: &str) -> Self {
        let (reason, session) = (denial.cause.to_owned(), session.to_owned());
        // The value of the metric's label is public interface.
        Self {
            name: "refused",
            reason,
            session,
            answer: Answer { denial: Some(denial), ..Answer::default() },
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
    let outcome = admission.decide(&request, deadline).await;
    let rendered = review::render(request.uid(), &outcome.answer);
    let duration = start.elapsed();
    admission.metrics.decided(outcome.name, duration);
    log(&request, &outcome, duration);
    ([(header::CONTENT_TYPE, "application/json")], rendered).into_response()
}

fn rejected(admission: &Admission, start: Instant, (status, message): Rejection) -> Response {
    admission.metrics.decided("malformed", start.elapsed());
    tracing::warn!(status = status.as_u16(), reason = %message, "request rejected");
    (status, message).into_response()
}

fn log(request: &review::Request, outcome: &Outcome, duration: Duration) {
    let (uid, namespace, pod) = (request.uid(), request.namespace(), request.pod_name());
    let Outcome { name, reason, session, answer } = outcome;
    let (warning, duration_us) = (answer.warnings.first(), duration.as_micros());
    if answer.denial.is_some() {
        tracing::warn!(
            uid,
            namespace,
            pod,
            session,
            outcome = name,
            reason,
            duration_us,
            "admission review handled"
        );
    } else {
        tracing::info!(
            uid,
            namespace,
            pod,
            session,
            outcome = name,
            reason,
            warning,
            duration_us,
            "admission review handled"
        );
    }
}
