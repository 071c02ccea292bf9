//! The accept loop over real TLS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use workflow_certs::{Pair, Resolver};
use workflow_contract::Secret;

use super::*;

struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
    resolver: Arc<Resolver>,
    root: CertificateDer<'static>,
    /// Tells that `/slow` is being answered, and lets it go on.
    slow: Arc<(Notify, Notify)>,
}

/// A pair for `localhost` that is its own authority.
fn pair() -> (Pair, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = Secret::new(&made.signing_key.serialize_pem());
    (Pair { certificate: made.cert.pem(), key }, made.cert.der().clone())
}

async fn start() -> Server {
    let (pair, root) = pair();
    let resolver = Arc::new(Resolver::default());
    resolver.swap(&pair, Timestamp::now()).unwrap();
    let slow = Arc::new((Notify::new(), Notify::new()));
    let answering = Arc::clone(&slow);
    let router = Router::new().route("/", get(async || "fast")).route(
        "/slow",
        get(async move || {
            answering.0.notify_one();
            answering.1.notified().await;
            "slow"
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (phase, phases) = watch::channel(Phase::Serving);
    let tls = tls_config(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>).unwrap();
    let task = tokio::spawn(serve(listener, Some(tls), router, phases));
    Server { address, phase, task, resolver, root, slow }
}

/// A connection, and the task that ends when it is closed.
async fn connect(
    address: SocketAddr,
    root: &CertificateDer<'static>,
) -> std::io::Result<(SendRequest<Body>, JoinHandle<()>)> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let closed = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, closed))
}

async fn ask(sender: &mut SendRequest<Body>, path: &str) -> hyper::Result<Response<Incoming>> {
    sender.ready().await?;
    let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty()).unwrap();
    sender.send_request(request).await
}

fn says_close(response: &Response<Incoming>) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start().await;
    let (mut sender, _) = connect(server.address, &server.root).await.unwrap();
    for _ in 0..3 {
        let response = ask(&mut sender, "/").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!says_close(&response));
    }
}

#[tokio::test]
async fn while_draining_every_answer_closes_its_connection_and_idle_ones_stay() {
    let server = start().await;
    let (mut idle, _) = connect(server.address, &server.root).await.unwrap();
    ask(&mut idle, "/").await.unwrap();
    server.phase.send_replace(Phase::Draining);
    let (mut fresh, closed) = connect(server.address, &server.root).await.unwrap();
    assert!(says_close(&ask(&mut fresh, "/").await.unwrap()));
    closed.await.unwrap();
    assert!(says_close(&ask(&mut idle, "/").await.unwrap()));
}

#[tokio::test]
async fn at_the_end_requests_under_way_are_answered_and_idle_connections_closed() {
    let server = start().await;
    let (mut idle, closed) = connect(server.address, &server.root).await.unwrap();
    ask(&mut idle, "/").await.unwrap();
    let (mut busy, _) = connect(server.address, &server.root).await.unwrap();
    let answer = tokio::spawn(async move { ask(&mut busy, "/slow").await });
    server.slow.0.notified().await;
    server.phase.send_replace(Phase::Ending);
    closed.await.unwrap();
    assert!(!server.task.is_finished());
    server.slow.1.notify_one();
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    server.task.await.unwrap();
    assert!(connect(server.address, &server.root).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_served_while_old_connections_stay() {
    let server = start().await;
    let (mut old, _) = connect(server.address, &server.root).await.unwrap();
    let (pair, root) = pair();
    server.resolver.swap(&pair, Timestamp::now()).unwrap();
    assert!(connect(server.address, &server.root).await.is_err());
    connect(server.address, &root).await.unwrap();
    assert_eq!(ask(&mut old, "/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_failed_handshake_harms_nobody_else() {
    let server = start().await;
    let (_, stranger) = pair();
    assert!(connect(server.address, &stranger).await.is_err());
    drop(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, _) = connect(server.address, &server.root).await.unwrap();
    assert_eq!(ask(&mut sender, "/").await.unwrap().status(), StatusCode::OK);
}
