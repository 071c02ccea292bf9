//! The ceiling: what axum and rustls do by themselves. It parses a review and answers with a patch that is always the
//! same. No logs, no metrics, no limits, no end: everything that it lacks is what the injector is paid for.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::post};
use clap::{Parser, ValueEnum};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Answers every review with the same patch.
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
    /// How much of a review is parsed.
    #[arg(long, value_enum)]
    parse: Parse,
}

#[derive(Clone, Copy, ValueEnum)]
enum Parse {
    /// The uid; the rest is only checked to be JSON.
    Lean,
    /// All of it, into a tree of its own.
    Whole,
}

#[derive(Deserialize)]
struct Review<'b> {
    #[serde(borrow)]
    request: Request<'b>,
}

#[derive(Deserialize)]
struct Request<'b> {
    #[serde(borrow)]
    uid: Cow<'b, str>,
}

async fn mutate(State((parse, patch)): State<(Parse, Arc<str>)>, body: Bytes) -> Response {
    let uid = match parse {
        Parse::Lean => {
            serde_json::from_slice::<Review<'_>>(&body).map(|review| review.request.uid.into_owned())
        }
        Parse::Whole => serde_json::from_slice::<Value>(&body)
            .map(|review| review["request"]["uid"].as_str().unwrap_or_default().to_owned()),
    };
    let Ok(uid) = uid else { return StatusCode::BAD_REQUEST.into_response() };
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
    let Args { listen, tls_dir, patch, parse } = Args::parse();
    let acceptor = tls(&tls_dir).context("the certificate can't be used")?;
    let patch: Arc<str> = std::fs::read_to_string(&patch).context("the patch can't be read")?.into();
    let router = Router::new().route("/mutate", post(mutate)).with_state((parse, patch));
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            // A connection that breaks is its client's affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
