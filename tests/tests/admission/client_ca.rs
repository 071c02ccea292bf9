//! `serve --client-ca` with a real API server that has a client certificate for webhooks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use workflow_contract::names::INIT_CONTAINER;
use workflow_tests::api_server;
use workflow_tests::session::SessionBuilder;

use crate::common::{AdmissionEnv, WebhookServer, init_containers, operator_pod};

/// Sends a request without a client certificate.
fn post_without_certificate(server: &WebhookServer) -> anyhow::Result<String> {
    let address = server.address()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(IpAddr::from(address.ip()));
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    let mut response = String::new();
    stream
        .write_all(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")?;
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_only_clients_with_the_api_servers_certificate() -> anyhow::Result<()> {
    let env = AdmissionEnv::new("client-ca").await?;
    let injector = env.injector_for(Some(&api_server::server()?.webhook_client_ca())).await?;
    let session = SessionBuilder::new("s").workflow("https://git.invalid/o/r.git", "main");
    let pod = operator_pod(&env.session(session).await?);
    assert!(init_containers(&env.create(&pod, "").await?).contains(&INIT_CONTAINER.to_owned()));

    let rejected = tokio::task::block_in_place(|| post_without_certificate(&injector.server));
    let Err(error) = rejected else { anyhow::bail!("a client without a certificate was served") };
    assert!(format!("{error:#}").contains("CertificateRequired"), "{error:#}");
    Ok(())
}
