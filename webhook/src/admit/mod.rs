//! Admission: AdmissionReview in, AdmissionReview out.
//!
//! ```text
//! body -> review -> plan::owner -> session (look-up) -> plan::decide -> patch -> review -> body
//! ```
//!
//! This file decodes, asks the pure functions and encodes. A pod that is none of our business is
//! answered before anything is waited for.

pub mod body;
pub mod live;
pub mod patch;
pub mod plan;
pub mod review;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Config;
use crate::metrics::Metrics;
use body::Bodies;
use plan::{Decision, REFUSES, Refusal};
use review::Answer;
use session::Sessions;

/// Look-ups under way at once. Above it requests wait, but not long.
const MAX_LOOKUPS: usize = 256;

/// Longest time that one review spends waiting: for its body, for a permit, for the session. API servers
/// give up after `timeoutSeconds`, 5 s, and a denial with a reason must arrive before.
pub const REVIEW_TIMEOUT: Duration = Duration::from_millis(4300);

/// Longest wait for a permit to look up a session.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(500);

/// What a handler needs.
pub struct Admission {
    sessions: Sessions,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    turns: Semaphore,
    bodies: Bodies,
}

impl Admission {
    /// `config` may be swapped at any time; each request uses one version of it.
    #[must_use]
    pub fn new(sessions: Sessions, config: Arc<ArcSwap<Config>>, metrics: Arc<Metrics>) -> Self {
        Self {
            sessions,
            config,
            metrics,
            turns: Semaphore::new(MAX_LOOKUPS),
            bodies: Bodies::new(PERMIT_TIMEOUT),
        }
    }

    /// Routes: `POST /mutate`. Tests call it without a socket.
    pub fn router(self) -> Router {
        Router::new().route("/mutate", post(mutate)).with_state(Arc::new(self))
    }

    async fn decide(&self, request: &review::Request<'_>, deadline: Instant) -> Outcome {
        if !request.creates_a_pod() {
            return Outcome::skipped(plan::Skip::NotAPodCreation, "");
        }
        let owner = match plan::owner(request.object()) {
            Ok(owner) => owner,
            Err(skip) => return Outcome::skipped(skip, ""),
        };
        let Ok(Ok(_turn)) =
            tokio::time::timeout_at(deadline.min(Instant::now() + PERMIT_TIMEOUT), self.turns.acquire())
                .await
        else {
            return Outcome::refused(busy(), owner.name);
        };
        let lookup = self.sessions.find(request.namespace(), owner, deadline).await;
        match plan::decide(owner, request.namespace(), &lookup) {
            Decision::Skip(skip) => Outcome::skipped(skip, owner.name),
            Decision::Refuse(refusal) => Outcome::refused(refusal, owner.name),
            Decision::Inject(plan) => {
                let config = self.config.load();
                let patch = patch::patch(request.object(), &plan, &config);
                let name = if patch.is_empty() { "unchanged" } else { "injected" };
                let warnings = plan.trouble(&config.policy()).into_iter().collect();
                let answer = Answer { patch, warnings, refusal: None };
                Outcome { name, why: String::new(), session: owner.name.to_owned(), answer }
            }
        }
    }
}

/// What became of a request.
struct Outcome {
    name: &'static str,
    why: String,
    session: String,
    answer: Answer,
}

impl Outcome {
    fn skipped(skip: plan::Skip, session: &str) -> Self {
        let (why, session) = (skip.to_string(), session.to_owned());
        Self { name: "skipped", why, session, answer: Answer::default() }
    }

    fn refused(refusal: Refusal, session: &str) -> Self {
        let (why, session) = (refusal.cause.to_owned(), session.to_owned());
        Self { name: "refused", why, session, answer: Answer { refusal: Some(refusal), ..Answer::default() } }
    }
}

fn busy() -> Refusal {
    let message = format!("{REFUSES}too many sessions are looked up at once; create the pod again");
    Refusal { code: 503, message, cause: "too many lookups" }
}

async fn mutate(State(admission): State<Arc<Admission>>, request: Request) -> Response {
    let start = Instant::now();
    let deadline = start + REVIEW_TIMEOUT;
    let body = match tokio::time::timeout_at(deadline, admission.bodies.read(request)).await {
        Err(_) => {
            let message = "the body did not arrive in time".to_owned();
            return malformed(&admission, start, StatusCode::REQUEST_TIMEOUT, message);
        }
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return malformed(&admission, start, error.status(), error.to_string()),
    };
    let request = match review::parse(&body.bytes) {
        Ok(request) => request,
        Err(error) => return malformed(&admission, start, StatusCode::BAD_REQUEST, error.to_string()),
    };
    let outcome = admission.decide(&request, deadline).await;
    let rendered = review::render(request.uid(), &outcome.answer);
    let took = start.elapsed();
    admission.metrics.decided(outcome.name, took);
    log(&request, &outcome, took);
    ([(header::CONTENT_TYPE, "application/json")], rendered).into_response()
}

fn malformed(admission: &Admission, start: Instant, status: StatusCode, message: String) -> Response {
    admission.metrics.decided("malformed", start.elapsed());
    tracing::warn!(status = status.as_u16(), why = %message, "request not understood");
    (status, message).into_response()
}

/// One line for each decision; what a person has to look at is a warning.
fn log(request: &review::Request<'_>, outcome: &Outcome, took: Duration) {
    let (uid, namespace, pod) = (request.uid(), request.namespace(), request.pod_name());
    let (session, why, duration_us) = (&*outcome.session, &*outcome.why, took.as_micros());
    let trouble = outcome.answer.warnings.first();
    if outcome.answer.refusal.is_some() {
        tracing::warn!(uid, namespace, pod, session, outcome = outcome.name, why, duration_us, "pod decided");
    } else {
        tracing::info!(
            uid,
            namespace,
            pod,
            session,
            outcome = outcome.name,
            why,
            trouble,
            duration_us,
            "pod decided"
        );
    }
}
