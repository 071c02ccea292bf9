//! Sessions from the API server: one GET, and of the answer only what a decision needs.
//!
//! Not through `kube::Client`, whose requests pass through a task of their own and decode every field
//! of the object: both cost more than the whole decision. Connection, certificates and credentials are
//! kube's all the same, so that a cluster is reached in the same way by all parts.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::Resource;
use kube::client::{Body, ConfigExt};
use serde::Deserialize;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::session::{Live, LiveError};
use crate::session::AgenticSession;
use crate::session::lean::Lean;

/// Longest answer, in bytes; etcd takes objects of 1.5 MiB by default.
const LONGEST: usize = 8 << 20;

type Service = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// Reads sessions from the API server.
#[derive(Clone)]
pub struct Reader {
    service: Service,
}

impl Reader {
    /// For the cluster that the configuration leads to.
    ///
    /// # Errors
    /// Where certificates or credentials can't be used.
    pub fn new(config: &kube::Config) -> kube::Result<Self> {
        let client = legacy::Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(client);
        Ok(Self { service: BoxCloneSyncService::new(service) })
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<(StatusCode, Bytes), BoxError> {
        let path = AgenticSession::url_path(&(), Some(namespace));
        let request = Request::get(format!("{path}/{name}")).body(Body::empty())?;
        let (head, body) = self.service.clone().oneshot(request).await?.into_parts();
        Ok((head.status, Limited::new(body, LONGEST).collect().await?.to_bytes()))
    }
}

impl Live for Reader {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LiveError>> {
        Box::pin(async move {
            let answer = self.get(namespace, name).await;
            // The innermost cause: "connection refused" helps where "client error" does not.
            let root = |error: BoxError| anyhow::Error::from_boxed(error).root_cause().to_string();
            let (status, body) = answer.map_err(|error| LiveError::Passing(root(error)))?;
            understood(status, &body)
        })
    }
}

/// Interprets a response. Error texts reach the pod's creator, so they contain nothing that the API server sent;
/// its own message is logged.
fn understood(status: StatusCode, body: &[u8]) -> Result<Option<Arc<AgenticSession>>, LiveError> {
    if status.is_success() {
        return match serde_json::from_slice(body) {
            Ok(Lean(session)) => Ok(Some(Arc::new(session))),
            Err(error) => {
                tracing::warn!(%error, "failed to decode session");
                Err(LiveError::Settled("the API server's answer cannot be decoded".to_owned()))
            }
        };
    }
    // A body that is no Status comes from a server without this path, or from a proxy.
    let found: Status = serde_json::from_slice(body).unwrap_or_default();
    let public = format!("the API server answered {status}");
    if status != StatusCode::NOT_FOUND {
        tracing::warn!(status = status.as_u16(), message = found.message, "failed to look up session");
    }
    match status {
        StatusCode::NOT_FOUND if found.reason == "NotFound" => Ok(None),
        StatusCode::NOT_FOUND => Err(LiveError::UnknownKind),
        StatusCode::TOO_MANY_REQUESTS => Err(LiveError::Passing(public)),
        _ if status.is_client_error() => Err(LiveError::Settled(public)),
        _ => Err(LiveError::Passing(public)),
    }
}

/// The fields that are read of a `Status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(code: u16, body: &str) -> Result<Option<Arc<AgenticSession>>, LiveError> {
        understood(StatusCode::from_u16(code).unwrap(), body.as_bytes())
    }

    fn status(reason: &str) -> String {
        json!({"kind": "Status", "reason": reason, "message": "in words"}).to_string()
    }

    #[test]
    fn a_session_that_is_not_there_is_no_error() {
        assert!(matches!(refused(404, &status("NotFound")), Ok(None)));
    }

    #[test]
    fn a_path_that_is_not_there_is_a_kind_that_is_not_known() {
        assert!(matches!(refused(404, "404 page not found\n"), Err(LiveError::UnknownKind)));
    }

    #[test]
    fn retries_only_what_can_pass_and_shows_none_of_the_answer() {
        for (code, body) in [
            (429, status("TooManyRequests")),
            (503, status("ServiceUnavailable")),
            (502, "<html>".to_owned()),
        ] {
            let Err(LiveError::Passing(why)) = refused(code, &body) else { unreachable!("{code} can pass") };
            assert!(why.starts_with(&format!("the API server answered {code}")), "{why}");
        }
        for code in [401, 403] {
            let Err(LiveError::Settled(why)) = refused(code, &status("Forbidden")) else {
                unreachable!("{code} stays")
            };
            assert!(!why.contains("in words"), "{why}");
        }
        let broken = r#"{"spec":{"activeWorkflow":"https://u:s3cret@h/r"}}"#;
        let Err(LiveError::Settled(why)) = refused(200, broken) else { unreachable!("it is not decodable") };
        assert!(!why.contains("s3cret"), "{why}");
    }
}
