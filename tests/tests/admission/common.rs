//! The harness of the admission tests: an API server of the process, and the injector's admission in this process,
//! registered by URL for one namespace.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{MutexGuard, watch};
use workflow_certs::{Pair, Resolver};
use workflow_contract::Secret;
use workflow_contract::names::{INIT_CONTAINER, INJECTOR};
use workflow_injector::admission::Admission;
use workflow_injector::admission::lookup::SessionLookup;
use workflow_injector::server::{self, ServerPhase};
use workflow_injector::status::{self, Handle};
use workflow_tests::api_server;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::session::{self, Session, SessionBuilder};
use workflow_tests::wait::{TIMEOUT, until_so};

const REGISTRATION: &str = include_str!("../../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// A namespace on the process's API server, for one test.
pub struct AdmissionEnv {
    pub namespace: TestNamespace,
    _turn: MutexGuard<'static, ()>,
}

/// A webhook server on loopback; it ends when this is dropped.
pub struct WebhookServer {
    url: String,
    pub ca: String,
    _phase: watch::Sender<ServerPhase>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for WebhookServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The injector's admission and its caches.
pub struct AdmissionServer {
    pub server: WebhookServer,
    pub caches: Handle,
    _leader: watch::Sender<bool>,
}

/// Serves `router` with a self-signed certificate.
pub async fn serve(router: Router) -> anyhow::Result<WebhookServer> {
    serve_clients(router, None).await
}

/// As [`serve`]; a client CA restricts it to clients with a certificate.
pub async fn serve_clients(router: Router, client_ca: Option<&Path>) -> anyhow::Result<WebhookServer> {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let ca = issued.cert.pem();
    let pair = Pair { certificate: ca.clone(), key: Secret::new(&issued.signing_key.serialize_pem()) };
    let resolver = Arc::new(Resolver::default());
    resolver.swap(&pair, Timestamp::now())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}/mutate", listener.local_addr()?);
    let (phase, phases) = watch::channel(ServerPhase::Serving);
    let tls = match client_ca {
        None => server::tls_config(resolver)?,
        Some(path) => server::open_client_ca(path, resolver)?.current(),
    };
    let task = tokio::spawn(server::serve(listener, Some(tls), router, phases));
    Ok(WebhookServer { url, ca, _phase: phase, task })
}

impl WebhookServer {
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        let address = self.url.strip_prefix("https://").and_then(|rest| rest.strip_suffix("/mutate"));
        Ok(address.context("the URL has this form")?.parse()?)
    }

    /// The `clientConfig` of its registration.
    pub fn client_config(&self) -> anyhow::Result<Value> {
        client_config(&self.url, &self.ca)
    }
}

/// The `clientConfig` of a URL with this CA bundle.
pub fn client_config(url: &str, ca: &str) -> anyhow::Result<Value> {
    let bundle = k8s_openapi::ByteString(ca.as_bytes().to_vec());
    Ok(json!({ "url": url, "caBundle": serde_json::to_value(bundle)? }))
}

impl AdmissionServer {
    /// Starts it as the command `serve` does, and waits until its caches are synced.
    pub async fn start(cluster: Config) -> anyhow::Result<Self> {
        Self::start_for(cluster, None).await
    }

    /// As above; a client CA restricts it to clients with a certificate.
    pub async fn start_for(cluster: Config, client_ca: Option<&Path>) -> anyhow::Result<Self> {
        let client = Client::try_from(cluster)?;
        let (leader, leading) = watch::channel(false);
        let caches = status::spawn(client.clone(), leading, "test".to_owned(), Arc::default(), Arc::new(()));
        let mut synced = caches.synced.clone();
        tokio::time::timeout(TIMEOUT, synced.wait_for(|state| state.is_complete())).await??;
        let sessions = SessionLookup::new(Arc::new(client), Some(caches.sessions.clone()));
        let router = Admission::new(sessions, Arc::default(), Arc::default()).router();
        let server = serve_clients(router, client_ca).await?;
        Ok(Self { server, caches, _leader: leader })
    }
}

impl AdmissionEnv {
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        let (cluster, turn) = api_server::exclusive().await?;
        Ok(Self { namespace: TestNamespace::named(cluster, name).await?, _turn: turn })
    }

    pub fn client(&self) -> Client {
        self.namespace.cluster.client.clone()
    }

    /// Applies the injector's registration under this name, for this namespace only.
    pub async fn register(&self, name: &str, client_config: Value) -> anyhow::Result<()> {
        let mut registration: Value = serde_saphyr::from_str(REGISTRATION)?;
        registration["metadata"]["name"] = json!(format!("{name}.{}", self.namespace.name));
        let webhook = &mut registration["webhooks"][0];
        webhook["clientConfig"] = client_config;
        let this_namespace = json!({
            "key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.namespace.name],
        });
        let selector = webhook["namespaceSelector"]["matchExpressions"].as_array_mut();
        selector.context("the registration has a namespaceSelector")?.push(this_namespace);
        let registration: MutatingWebhookConfiguration = serde_json::from_value(registration)?;
        Api::all(self.client()).create(&PostParams::default(), &registration).await?;
        Ok(())
    }

    /// Starts an injector and waits until the API server calls it.
    pub async fn injector(&self) -> anyhow::Result<AdmissionServer> {
        self.injector_for(None).await
    }

    /// As above; a client CA restricts it to clients with a certificate.
    pub async fn injector_for(&self, client_ca: Option<&Path>) -> anyhow::Result<AdmissionServer> {
        let injector = AdmissionServer::start_for(api_server::server()?.config().await?, client_ca).await?;
        self.register(INJECTOR, injector.server.client_config()?).await?;
        let session =
            self.session(SessionBuilder::new("probe").workflow("https://git.invalid/o/r.git", "main"));
        let pod = operator_pod(&session.await?);
        // The API server uses a registration a moment later.
        until_so("the injector to be called", || async {
            let stored = self.dry_run(&pod).await?;
            Ok(init_containers(&stored).contains(&INIT_CONTAINER.to_owned()))
        })
        .await?;
        Ok(injector)
    }

    pub async fn session(&self, session: SessionBuilder) -> anyhow::Result<Session> {
        let sessions = session::api(self.client(), &self.namespace.name);
        sessions.create(&PostParams::default(), &session.build()).await.context("create the session")
    }

    /// Returns the pod that the API server would store.
    pub async fn dry_run(&self, pod: &Value) -> kube::Result<Value> {
        self.create(pod, "?dryRun=All").await
    }

    /// Creates the pod with this query in the URL.
    pub async fn create(&self, pod: &Value, query: &str) -> kube::Result<Value> {
        let url = format!("/api/v1/namespaces/{}/pods{query}", self.namespace.name);
        let request = Request::post(url)
            .header("Content-Type", "application/json")
            .body(pod.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        self.client().request(request).await
    }
}

/// The pod that the operator creates for a session.
pub fn operator_pod(session: &Session) -> Value {
    session_pod(session, &Settings::new("local.test/none:1"))
}

/// Names of a pod's init containers.
pub fn init_containers(pod: &Value) -> Vec<String> {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The message of the API server's denial.
pub fn denial(response: kube::Result<Value>) -> anyhow::Result<String> {
    match response {
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(error) => Err(error.into()),
        Ok(pod) => bail!("it was admitted: {pod}"),
    }
}
