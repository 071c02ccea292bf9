//! Injects faults into a client's connection to the API server: broken connections, expired watches, lost responses.
//! Everything else passes unchanged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, future};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use kube::client::{Body, ClientBuilder, DynBody};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tower::{BoxError, Layer, Service};

/// Switches the faults of one client.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    /// Watches that are closed, and rejected when they are started.
    blind: watch::Sender<Blind>,
    /// Resources whose next watch receives 410 Expired.
    expired: Mutex<Vec<&'static str>>,
    /// Fault of the next PUT of a status.
    put: Mutex<Option<Put>>,
    /// Notified when a PUT is held.
    held: Notify,
    /// Notified when a held PUT may continue.
    released: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blind {
    ToNothing,
    To(&'static str),
    ToAll,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Held before the API server receives it.
    HoldRequest,
    /// Processed by the API server, with the response held.
    HoldResponse,
    /// Processed by the API server, with the response lost.
    LoseResponse,
}

impl Faults {
    /// A client without active faults.
    pub fn client(config: Config) -> anyhow::Result<(Client, Self)> {
        let shared = Shared {
            blind: watch::Sender::new(Blind::ToNothing),
            expired: Mutex::default(),
            put: Mutex::default(),
            held: Notify::new(),
            released: Notify::new(),
        };
        let faults = Self { shared: Arc::new(shared) };
        let client = ClientBuilder::try_from(config)?.with_layer(&faults).build();
        Ok((client, faults))
    }

    /// Closes all watches and rejects new ones, or allows them again.
    pub fn blind(&self, blind: bool) {
        self.shared.blind.send_replace(if blind { Blind::ToAll } else { Blind::ToNothing });
    }

    /// Closes all watches of this resource and rejects new ones.
    pub fn blind_to(&self, resource: &'static str) {
        self.shared.blind.send_replace(Blind::To(resource));
    }

    /// Makes the next watch of each of these resources receive 410 Expired, as from the API server.
    pub fn expire(&self, resources: &[&'static str]) {
        lock(&self.shared.expired).extend(resources);
    }

    /// Reports whether all of these watches have received it.
    pub fn all_expired(&self) -> bool {
        lock(&self.shared.expired).is_empty()
    }

    /// Sets the fault of the next PUT of a status.
    pub fn next_put(&self, put: Put) {
        *lock(&self.shared.put) = Some(put);
    }

    /// Waits until a PUT is held.
    pub async fn held(&self) {
        self.shared.held.notified().await;
    }

    /// Continues the held PUT.
    pub fn release(&self) {
        self.shared.released.notify_one();
    }
}

impl Shared {
    fn expires(&self, path: &str) -> bool {
        let mut expired = lock(&self.expired);
        let found = expired.iter().position(|resource| path.ends_with(&format!("/{resource}")));
        found.map(|found| expired.swap_remove(found)).is_some()
    }

    async fn hold(&self) {
        self.held.notify_one();
        self.released.notified().await;
    }
}

impl Blind {
    fn hides(self, path: &str) -> bool {
        match self {
            Self::ToNothing => false,
            Self::To(resource) => path.ends_with(&format!("/{resource}")),
            Self::ToAll => true,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Faulty { inner, shared: Arc::clone(&self.shared) }
    }
}

type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// A client's connection, with faults.
pub struct Faulty<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let path = request.uri().path().to_owned();
        if is_watch && shared.blind.borrow().hides(&path) {
            return future::ready(respond(
                StatusCode::SERVICE_UNAVAILABLE,
                &status(503, "ServiceUnavailable"),
            ))
            .boxed();
        }
        if is_watch && shared.expires(&path) {
            let event = json!({ "type": "ERROR", "object": status(410, "Expired") });
            return future::ready(respond(StatusCode::OK, &event)).boxed();
        }
        let is_put = request.method() == Method::PUT && path.ends_with("/status");
        let put = if is_put { lock(&shared.put).take() } else { None };
        let response = self.inner.call(request);
        async move {
            if put == Some(Put::HoldRequest) {
                shared.hold().await;
            }
            let response = response.await?;
            match put {
                Some(Put::HoldResponse) => shared.hold().await,
                Some(Put::LoseResponse) => return Err("the connection broke".into()),
                Some(Put::HoldRequest) | None => {}
            }
            Ok(response
                .map(|body| if is_watch { until_blind(body, &shared, path) } else { body.boxed_unsync() }))
        }
        .boxed()
    }
}

/// The body until the watch is closed.
fn until_blind(body: Box<DynBody>, shared: &Shared, path: String) -> ResponseBody {
    let mut blind = shared.blind.subscribe();
    let cut = async move { drop(blind.wait_for(|blind| blind.hides(&path)).await) };
    StreamBody::new(BodyStream::new(body).take_until(Box::pin(cut))).boxed_unsync()
}

fn status(code: u16, reason: &str) -> serde_json::Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason })
}

fn respond(code: StatusCode, body: &serde_json::Value) -> Result<Response<ResponseBody>, BoxError> {
    let response = Response::builder().status(code).header(http::header::CONTENT_TYPE, "application/json");
    let body = Full::new(Bytes::from(format!("{body}\n"))).map_err(|never| match never {});
    Ok(response.body(body.boxed_unsync())?)
}
