//! The accept loop: TCP, TLS, HTTP/1.1, and a shutdown without lost calls.
//!
//! ```text
//! Serving ──SIGTERM──> Draining (drain period) ──> Ending ──> every connection closed
//! ```
//!
//! While draining, requests are still served, on new connections too, because the endpoints of API servers are
//! updated late. Each response has `Connection: close`, so that the next call goes to another replica. Idle
//! connections are closed at the very end: a request that the API server is about to write would be lost,
//! and it does not repeat POSTs.

mod connections;
mod lifecycle;
mod ops;
mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub use lifecycle::{ServerPhase, drained};
pub use ops::Ops;
pub use tls::{TlsError, TlsSettings, open_client_ca, tls_config};

use connections::{Connection, ConnectionLimits, Connections};

/// Longest time for one request; the API server's own timeout is 5 s.
pub const REQUEST: Duration = Duration::from_secs(6);

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Longest wait for the head of a request, which in hyper includes the time between two requests. API
/// servers close idle connections after 90 s (client-go); closing them earlier could lose a call.
const IDLE: Duration = Duration::from_mins(2);

/// Pause after a failed accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until [`ServerPhase::Ending`], then closes what is open. Returns once all connections are gone.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsSettings>,
    router: Router,
    phase: watch::Receiver<ServerPhase>,
) {
    serve_limited(listener, tls, router, ConnectionLimits::default(), phase).await;
}

async fn serve_limited(
    listener: TcpListener,
    tls: Option<TlsSettings>,
    router: Router,
    limits: ConnectionLimits,
    mut phase: watch::Receiver<ServerPhase>,
) {
    let table = Connections::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = lifecycle::ending(&mut phase) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(connection) = table.open(address.ip(), Instant::now()) else {
            tracing::debug!(%address, "connection refused at the limit");
            continue;
        };
        let acceptor = tls.as_ref().map(|settings| TlsAcceptor::from(settings.load_full()));
        connections.spawn(handle(stream, acceptor, router.clone(), Arc::new(connection), phase.clone()));
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(REQUEST, all).await.is_err() {
        tracing::warn!(open = connections.len(), "connections aborted");
    }
}

async fn handle(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    connection: Arc<Connection>,
    phase: watch::Receiver<ServerPhase>,
) {
    // Otherwise a response of two segments waits for the client's delayed acknowledgement: 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let Some(acceptor) = acceptor else { return http(stream, router, connection, phase).await };
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = connection.closed() => return,
    };
    match handshake {
        Ok(Ok(stream)) => http(stream, router, connection, phase).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    router: Router,
    connection: Arc<Connection>,
    mut phase: watch::Receiver<ServerPhase>,
) {
    let (requests, current) = (Arc::clone(&connection), phase.clone());
    let service = service_fn(move |request| {
        let (requests, router, current) = (Arc::clone(&requests), router.clone(), current.clone());
        async move {
            requests.set_idle(None);
            let response = respond(router, request, current).await;
            requests.set_idle(Some(Instant::now()));
            response
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    let ended = tokio::select! {
        ended = &mut http => ended,
        () = connection.closed() => {
            // hyper would still wait for the rest of a head; a request that has just begun is answered.
            if !connection.is_busy() {
                return;
            }
            http.as_mut().graceful_shutdown();
            http.await
        }
        () = lifecycle::ending(&mut phase) => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn respond(
    router: Router,
    request: Request<Incoming>,
    phase: watch::Receiver<ServerPhase>,
) -> Result<Response<Body>, Infallible> {
    let response = router.oneshot(request.map(Body::new));
    let mut response = match tokio::time::timeout(REQUEST, response).await {
        Ok(Ok(response)) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the request timed out").into_response(),
    };
    if *phase.borrow() != ServerPhase::Serving {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
