//! The accept loop: TCP, TLS, HTTP/1.1, and an end that loses no call.
//!
//! ```text
//! Serving ──SIGTERM──> Draining (drain period) ──> Ending ──> every connection closed
//! ```
//!
//! While draining, everything is still served, new connections too: the API server learns late that
//! this replica is going. But each answer says `Connection: close`, so that the next call goes to
//! another replica. Connections that nobody uses are closed at the very end, and not before: one
//! that the API server is about to write on would be a lost call, and POSTs are not repeated.

mod lifecycle;
mod ops;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub use lifecycle::{Phase, drained};
pub use ops::Ops;

/// Longest time for one request; the API server gives up on us after 5 s.
pub const REQUEST: Duration = Duration::from_secs(6);

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Longest wait for the head of a request, which in hyper includes the time between two requests. An
/// API server keeps idle connections for 90 s (client-go): it must be the one to close them, else a
/// call is lost whenever both happen at once.
const IDLE: Duration = Duration::from_mins(2);

/// Connections at once. The API server keeps 25 idle ones per webhook.
const MAX_CONNECTIONS: usize = 1024;

/// Pause after a failed accept, which is for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// TLS settings for a source of certificates. HTTP/1.1 only: it is what the API server speaks to
/// webhooks behind a Service.
///
/// # Errors
/// When the crypto library supports no protocol version, which would be a broken build.
pub fn tls_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until [`Phase::Ending`], then closes what is open. Returns once all connections are gone.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    mut phase: watch::Receiver<Phase>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = lifecycle::ending(&mut phase) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, router, phase) = (acceptor.clone(), router.clone(), phase.clone());
        connections.spawn(async move {
            connection(stream, acceptor, router, phase).await;
            drop(place);
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(REQUEST, all).await.is_err() {
        tracing::warn!(open = connections.len(), "connections cut off");
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, Place)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    phase: watch::Receiver<Phase>,
) {
    // Without it an answer of two segments waits for the client's delayed acknowledgement: 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    match acceptor {
        None => http(stream, router, phase).await,
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, router, phase).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    router: Router,
    mut phase: watch::Receiver<Phase>,
) {
    let seen = phase.clone();
    let service = service_fn(move |request| answer(router.clone(), request, seen.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = lifecycle::ending(&mut phase) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    phase: watch::Receiver<Phase>,
) -> Result<Response<Body>, Infallible> {
    let answer = router.oneshot(request.map(Body::new));
    let mut response = match tokio::time::timeout(REQUEST, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the request took too long").into_response(),
    };
    if *phase.borrow() != Phase::Serving {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
