//! A bare handler of axum and rustls: parses a review into a `Value` and returns a constant patch, without logs, metrics or
//! limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::post};
use clap::Parser;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Responds to every review with the same patch.
#[derive(Parser)]
struct Args {
    /// Address for HTTPS: /mutate.
    #[arg(long)]
    listen: SocketAddr,
    /// Directory with tls.crt and tls.key.
    #[arg(long)]
    tls_dir: PathBuf,
    /// File with the patch, base64.
    #[arg(long)]
    patch: PathBuf,
}

async fn mutate(State(patch): State<Arc<str>>, body: Bytes) -> Response {
    let Ok(review) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let uid = &review["request"]["uid"];
    let response = json!({ "uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": &*patch });
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    ([(header::CONTENT_TYPE, "application/json")], review.to_string()).into_response()
}

fn tls(directory: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(directory.join("tls.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("tls.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Args { listen, tls_dir, patch } = Args::parse();
    let acceptor = tls(&tls_dir).context("load the certificate")?;
    let patch: Arc<str> = std::fs::read_to_string(&patch).context("read the patch")?.into();
    let router = Router::new().route("/mutate", post(mutate)).with_state(patch);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            // The client may close the connection at any time.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
