//! The accept loop over real TLS on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use workflow_certs::{Pair, Resolver};
use workflow_contract::Secret;

use super::*;
use crate::reload::ReloadError;

struct Server {
    address: SocketAddr,
    phase: watch::Sender<ServerPhase>,
    task: JoinHandle<()>,
    resolver: Arc<Resolver>,
    root: CertificateDer<'static>,
    /// Notified when `/slow` is called, and to let it respond.
    slow: Arc<(Notify, Notify)>,
}

/// A self-signed pair for `localhost`.
fn pair() -> (Pair, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = Secret::new(&made.signing_key.serialize_pem());
    (Pair { certificate: made.cert.pem(), key }, made.cert.der().clone())
}

async fn start() -> Server {
    start_with(ConnectionLimits::default(), None).await
}

async fn start_with(limits: ConnectionLimits, client_ca: Option<&Path>) -> Server {
    let (pair, root) = pair();
    let resolver = Arc::new(Resolver::default());
    resolver.swap(&pair, Timestamp::now()).unwrap();
    let slow = Arc::new((Notify::new(), Notify::new()));
    let response_gate = Arc::clone(&slow);
    let router = Router::new().route("/", get(async || "fast")).route(
        "/slow",
        get(async move || {
            response_gate.0.notify_one();
            response_gate.1.notified().await;
            "slow"
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (phase, phases) = watch::channel(ServerPhase::Serving);
    let certificates = Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>;
    let tls = match client_ca {
        None => tls_config(certificates).unwrap(),
        Some(path) => {
            let file = open_client_ca(path, certificates).unwrap();
            let settings = file.current();
            tokio::spawn(file.follow(|_| ()));
            settings
        }
    };
    let task = tokio::spawn(serve_limited(listener, Some(tls), router, limits, phases));
    Server { address, phase, task, resolver, root, slow }
}

/// A connection, and the task that ends when it is closed.
async fn connect(
    address: SocketAddr,
    root: &CertificateDer<'static>,
) -> std::io::Result<(SendRequest<Body>, JoinHandle<()>)> {
    connect_from("127.0.0.1", address, root, None).await
}

async fn connect_from(
    source: &str,
    address: SocketAddr,
    root: &CertificateDer<'static>,
    identity: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
) -> std::io::Result<(SendRequest<Body>, JoinHandle<()>)> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
            config.with_client_auth_cert(vec![pair.cert.der().clone()], key).unwrap()
        }
    };
    let stream = connect_tcp(source, address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let closed = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, closed))
}

/// A connection of this source address, which may be any of 127.0.0.0/8.
async fn connect_tcp(source: &str, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0))?;
    socket.connect(address).await
}

async fn send(sender: &mut SendRequest<Body>, path: &str) -> hyper::Result<Response<Incoming>> {
    sender.ready().await?;
    let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty()).unwrap();
    sender.send_request(request).await
}

fn closes_connection(response: &Response<Incoming>) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}

#[tokio::test]
async fn serves_many_requests_on_one_connection() {
    let server = start().await;
    let (mut sender, _) = connect(server.address, &server.root).await.unwrap();
    for _ in 0..3 {
        let response = send(&mut sender, "/").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!closes_connection(&response));
    }
}

#[tokio::test]
async fn draining_closes_connections_with_their_response_and_keeps_idle_ones() {
    let server = start().await;
    let (mut idle, _) = connect(server.address, &server.root).await.unwrap();
    send(&mut idle, "/").await.unwrap();
    server.phase.send_replace(ServerPhase::Draining);
    let (mut fresh, closed) = connect(server.address, &server.root).await.unwrap();
    assert!(closes_connection(&send(&mut fresh, "/").await.unwrap()));
    closed.await.unwrap();
    assert!(closes_connection(&send(&mut idle, "/").await.unwrap()));
}

#[tokio::test]
async fn ending_answers_pending_requests_and_closes_idle_connections() {
    let server = start().await;
    let (mut idle, closed) = connect(server.address, &server.root).await.unwrap();
    send(&mut idle, "/").await.unwrap();
    let (mut busy, _) = connect(server.address, &server.root).await.unwrap();
    let response = tokio::spawn(async move { send(&mut busy, "/slow").await });
    server.slow.0.notified().await;
    server.phase.send_replace(ServerPhase::Ending);
    closed.await.unwrap();
    assert!(!server.task.is_finished());
    server.slow.1.notify_one();
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
    server.task.await.unwrap();
    assert!(connect(server.address, &server.root).await.is_err());
}

#[tokio::test]
async fn serves_a_new_certificate_and_keeps_old_connections() {
    let server = start().await;
    let (mut old, _) = connect(server.address, &server.root).await.unwrap();
    let (pair, root) = pair();
    server.resolver.swap(&pair, Timestamp::now()).unwrap();
    assert!(connect(server.address, &server.root).await.is_err());
    connect(server.address, &root).await.unwrap();
    assert_eq!(send(&mut old, "/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_failed_handshake_affects_no_other_connection() {
    let server = start().await;
    let (_, other_root) = pair();
    assert!(connect(server.address, &other_root).await.is_err());
    drop(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, _) = connect(server.address, &server.root).await.unwrap();
    assert_eq!(send(&mut sender, "/").await.unwrap().status(), StatusCode::OK);
}

/// Opens many connections in every idle state: before and within the handshake, within a head, after a request.
async fn idle_connections(server: &Server, source: &str, number: usize) -> Vec<Box<dyn std::any::Any>> {
    let mut open: Vec<Box<dyn std::any::Any>> = Vec::new();
    for at in 0..number {
        match at % 3 {
            0 => open.push(Box::new(connect_tcp(source, server.address).await.unwrap())),
            1 => {
                let stream = connect_tcp(source, server.address).await.unwrap();
                stream.writable().await.unwrap();
                // The beginning of a handshake. The server may have closed the connection already.
                let _ = stream.try_write(&[22, 3, 1, 0, 200, 1]);
                open.push(Box::new(stream));
            }
            _ => {
                let connected = connect_from(source, server.address, &server.root, None).await;
                let (mut sender, closed) = connected.unwrap();
                send(&mut sender, "/").await.unwrap();
                open.push(Box::new((sender, closed)));
            }
        }
    }
    open
}

#[tokio::test]
async fn idle_connections_of_one_address_do_not_block_others() {
    let server = start_with(ConnectionLimits { total: 12, per_address: 6 }, None).await;
    let _idle = idle_connections(&server, "127.0.0.1", 30).await;
    for source in ["127.0.0.2", "127.0.0.1"] {
        let (mut sender, _) = connect_from(source, server.address, &server.root, None).await.unwrap();
        assert_eq!(send(&mut sender, "/").await.unwrap().status(), StatusCode::OK, "{source}");
    }
}

#[tokio::test]
async fn idle_connections_of_many_addresses_do_not_block_others() {
    let server = start_with(ConnectionLimits { total: 6, per_address: 3 }, None).await;
    let mut idle = Vec::new();
    for source in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        idle.push(idle_connections(&server, source, 9).await);
    }
    let (mut sender, _) = connect_from("127.0.0.4", server.address, &server.root, None).await.unwrap();
    assert_eq!(send(&mut sender, "/").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn does_not_close_a_connection_with_a_request_at_the_limit() {
    let server = start_with(ConnectionLimits { total: 2, per_address: 2 }, None).await;
    let (mut busy, _) = connect(server.address, &server.root).await.unwrap();
    let response = tokio::spawn(async move { send(&mut busy, "/slow").await });
    server.slow.0.notified().await;
    let _idle = idle_connections(&server, "127.0.0.1", 9).await;
    server.slow.1.notify_one();
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn client_ca_requires_a_client_certificate() {
    let identity = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (api_server, other) = (identity("api-server"), identity("other"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    std::fs::write(&path, api_server.cert.pem()).unwrap();
    let server = start_with(ConnectionLimits::default(), Some(&path)).await;
    let works = async |identity| {
        let connected = connect_from("127.0.0.1", server.address, &server.root, identity).await;
        // In TLS 1.3 the rejection arrives with the first response.
        let Ok((mut sender, _)) = connected else { return false };
        send(&mut sender, "/").await.is_ok_and(|response| response.status() == StatusCode::OK)
    };
    assert!(works(Some(&api_server)).await);
    assert!(!works(Some(&other)).await);
    assert!(!works(None).await);
}

#[test]
fn rejects_a_file_without_a_usable_client_ca() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    let open = || open_client_ca(&path, Arc::new(Resolver::default()));
    for unusable in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, unusable).unwrap();
        assert!(matches!(open(), Err(ReloadError::Invalid(TlsError::ClientCa(_)))), "{unusable}");
    }
    std::fs::write(&path, pair().0.certificate).unwrap();
    assert!(open().is_ok());
}
