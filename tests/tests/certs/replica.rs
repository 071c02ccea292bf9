//! A replica's certificates, election and registration in this process, with a webhook that admits everything. Each call
//! opens a connection, so that each call verifies the certificate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::CONNECTION;
use axum::{Json, Router, routing};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use workflow_certs::{Clock, Lifetimes, Resolver, self_managed};
use workflow_injector::kube::leader;
use workflow_injector::registration::ca_bundle;
use workflow_injector::server::{self, ServerPhase};
use workflow_tests::namespace::TestNamespace;

/// One replica; its tasks end when it is dropped, as if it were killed.
pub struct Replica {
    pub resolver: Arc<Resolver>,
    pub leading: watch::Receiver<bool>,
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    election: JoinHandle<()>,
    _phase: watch::Sender<ServerPhase>,
    _tasks: [JoinSet<()>; 2],
}

impl Replica {
    /// Starts a replica for the registration of the namespace's name.
    pub async fn start(namespace: &TestNamespace, name: &str, lifetimes: Lifetimes) -> anyhow::Result<Self> {
        Self::start_with(namespace.cluster.client.clone(), namespace, name, lifetimes).await
    }

    /// As [`start`](Self::start), with this client.
    pub async fn start_with(
        client: Client,
        namespace: &TestNamespace,
        name: &str,
        lifetimes: Lifetimes,
    ) -> anyhow::Result<Self> {
        // kube and the server take the process-wide provider; a second call changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let address: IpAddr = namespace.cluster.git_server_address()?;
        let listener = TcpListener::bind((address, 0)).await?;
        let (stop, stopped) = oneshot::channel();
        let (leading, election) = leader::spawn(client.clone(), &namespace.name, name, async {
            let _ = stopped.await;
        });
        let (in_place, in_place_changes) = watch::channel(None);
        let certificates = self_managed(
            client.clone(),
            Clock::default(),
            &namespace.name,
            vec![address.to_string()],
            lifetimes,
            leading.clone(),
            in_place_changes,
        );
        let mut tasks = JoinSet::new();
        let (registration, owner) = (namespace.name.clone(), namespace.name.clone());
        tasks.spawn(ca_bundle::run(
            client,
            registration,
            owner,
            leading.clone(),
            certificates.bundle,
            in_place,
            watch::Sender::default(),
        ));
        let (phase, phases) = watch::channel(ServerPhase::Serving);
        let tls = server::tls_config(certificates.resolver.clone())?;
        let address = listener.local_addr()?;
        tasks.spawn(server::serve(listener, Some(tls), allow(), phases));
        Ok(Self {
            resolver: certificates.resolver,
            leading,
            address,
            stop,
            election,
            _phase: phase,
            _tasks: [tasks, certificates.tasks],
        })
    }

    /// Ends it as SIGTERM does, which releases the Lease.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        Ok(self.election.await?)
    }
}

fn allow() -> Router {
    Router::new().route(
        "/mutate",
        routing::post(async |Json(review): Json<Value>| {
            let response = json!({"uid": review["request"]["uid"], "allowed": true});
            let review =
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            ([(CONNECTION, "close")], Json(review))
        }),
    )
}

/// Registers each replica as an entry for ConfigMaps of the namespace, so that a creation calls all of them. The
/// registration has the namespace's name.
pub async fn register(namespace: &TestNamespace, replicas: &[&Replica]) -> anyhow::Result<()> {
    let webhooks: Vec<Value> = replicas.iter().enumerate().map(|(index, replica)| json!({
        "name": format!("replica-{index}.certs.test"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
        "clientConfig": {"url": format!("https://{}/mutate", replica.address)},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
    })).collect();
    let configuration: MutatingWebhookConfiguration =
        serde_json::from_value(json!({"metadata": {"name": namespace.name}, "webhooks": webhooks}))?;
    registrations(namespace).create(&PostParams::default(), &configuration).await?;
    Ok(())
}

/// Deletes the registration, which the namespace may not own.
pub async fn unregister(namespace: &TestNamespace) -> anyhow::Result<()> {
    registrations(namespace).delete(&namespace.name, &DeleteParams::default()).await?;
    Ok(())
}

pub fn registrations(namespace: &TestNamespace) -> Api<MutatingWebhookConfiguration> {
    Api::all(namespace.cluster.client.clone())
}

/// The caBundle of each entry.
pub async fn bundles(namespace: &TestNamespace) -> anyhow::Result<Vec<String>> {
    let found = registrations(namespace).get(&namespace.name).await?;
    let bundle = |bytes: Option<ByteString>| String::from_utf8(bytes.unwrap_or_default().0);
    let entries = found.webhooks.into_iter().flatten();
    Ok(entries.map(|entry| bundle(entry.client_config.ca_bundle)).collect::<Result<_, _>>()?)
}
