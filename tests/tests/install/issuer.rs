//! Fakes of cert-manager and of OpenShift's service-ca, which no test runs: each reads the requests of our manifests and
//! writes what the issuer's documentation promises.
//!
//! cert-manager writes a Secret for each Certificate and renews it; its cainjector copies `ca.crt` of such a Secret to
//! the registrations that name the Certificate. service-ca writes a Secret without `ca.crt` for each annotated Service,
//! and its CA bundle to annotated registrations and to a ConfigMap in every namespace.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use workflow_certs::issue::{self, Validity};
use workflow_certs::{CertInfo, Pair};
use workflow_contract::names::INJECTOR;

/// The field manager of the fake.
pub const MANAGER: &str = "fake-issuer";
/// cert-manager's annotation that names the Certificate whose CA is copied into caBundle.
const INJECT_FROM: &str = "cert-manager.io/inject-ca-from";
/// OpenShift's annotation that requests a CA bundle.
const INJECT_BUNDLE: &str = "service.beta.openshift.io/inject-cabundle";
/// OpenShift's annotation with the name of the requested Secret.
const SERVING_SECRET: &str = "service.beta.openshift.io/serving-cert-secret-name";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerKind {
    CertManager,
    OpenShift,
}

impl IssuerKind {
    pub fn overlay(self) -> &'static str {
        match self {
            Self::CertManager => "cert-manager",
            Self::OpenShift => "openshift",
        }
    }
}

pub struct FakeIssuer {
    kind: IssuerKind,
    client: Client,
    key: KeyPair,
    ca: Pair,
    /// Lifetime of the next serving certificate.
    lifetime: SignedDuration,
}

impl FakeIssuer {
    pub fn new(kind: IssuerKind, client: Client) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let ca = issue_ca(&key)?;
        Ok(Self { kind, client, key, ca, lifetime: SignedDuration::from_hours(48) })
    }

    /// Issues the requested certificate, if there is none yet, and fills caBundle.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        if let Some((name, names)) = self.requested().await? {
            if self.secrets().get_opt(&name).await?.is_none() {
                self.issue(&name, names).await?;
            }
            self.fill_ca_bundle().await?;
        }
        Ok(())
    }

    /// Renews the CA with the same key, changes caBundle, then issues a serving certificate and returns its expiry. In this
    /// order replicas serve the old certificate under the new caBundle for a while.
    pub async fn renew(&mut self) -> anyhow::Result<Timestamp> {
        self.lifetime += SignedDuration::from_hours(24);
        self.ca = issue_ca(&self.key)?;
        let (name, names) = self.requested().await?.context("no certificate is requested")?;
        self.fill_ca_bundle().await?;
        self.issue(&name, names).await
    }

    /// The CA bundle as PEM.
    pub fn bundle(&self) -> &str {
        &self.ca.certificate
    }

    /// The name of the requested Secret and the DNS names of its certificate.
    async fn requested(&self) -> anyhow::Result<Option<(String, Vec<String>)>> {
        match self.kind {
            IssuerKind::CertManager => Ok(certificate(&self.client, INJECTOR, INJECTOR).await?),
            IssuerKind::OpenShift => {
                let services: Api<Service> = Api::namespaced(self.client.clone(), INJECTOR);
                let Some(service) = services.get_opt(INJECTOR).await? else { return Ok(None) };
                let name = service.annotations().get(SERVING_SECRET).cloned();
                let service = format!("{INJECTOR}.{INJECTOR}.svc");
                Ok(name.map(|name| (name, vec![service.clone(), format!("{service}.cluster.local")])))
            }
        }
    }

    async fn issue(&self, name: &str, names: Vec<String>) -> anyhow::Result<Timestamp> {
        let now = Timestamp::now();
        let validity = Validity { not_before: now, not_after: now + self.lifetime };
        let pair = issue::serving(&self.ca, &names, validity)?;
        let mut data = json!({ "tls.crt": pair.certificate, "tls.key": pair.key.expose() });
        if self.kind == IssuerKind::CertManager {
            data["ca.crt"] = json!(self.bundle());
        } else {
            let published = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "openshift-service-ca.crt" },
                "data": { "service-ca.crt": self.bundle() },
            });
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), INJECTOR);
            maps.patch("openshift-service-ca.crt", &apply(), &Patch::Apply(published)).await?;
        }
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name }, "stringData": data,
        });
        self.secrets().patch(name, &apply(), &Patch::Apply(secret)).await?;
        Ok(CertInfo::from_pem(&pair.certificate)?.not_after)
    }

    /// Fills caBundle if an annotation requests it.
    async fn fill_ca_bundle(&self) -> anyhow::Result<()> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(found) = registrations.get_opt(INJECTOR).await? else { return Ok(()) };
        let requested = match self.kind {
            IssuerKind::CertManager => {
                match found.annotations().get(INJECT_FROM).and_then(|it| it.split_once('/')) {
                    Some((namespace, name)) => certificate(&self.client, namespace, name).await?.is_some(),
                    None => false,
                }
            }
            IssuerKind::OpenShift => {
                found.annotations().get(INJECT_BUNDLE).is_some_and(|value| value == "true")
            }
        };
        let bundle = ByteString(self.bundle().as_bytes().to_vec());
        let operations: Vec<Value> = found
            .webhooks
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, webhook)| requested && webhook.client_config.ca_bundle.as_ref() != Some(&bundle))
            .map(|(at, _)| json!({ "op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": bundle }))
            .collect();
        if !operations.is_empty() {
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            let patch = Patch::Json::<()>(serde_json::from_value(json!(operations))?);
            registrations.patch(INJECTOR, &params, &patch).await?;
        }
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), INJECTOR)
    }
}

fn apply() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// The Secret and the DNS names of a Certificate, if its Issuer exists.
async fn certificate(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<(String, Vec<String>)>> {
    let of_kind = |kind: &str| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", kind));
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
    };
    let found = match of_kind("Certificate").get_opt(name).await {
        // Its kind is not served, or not yet.
        Err(kube::Error::Api(status)) if status.is_not_found() => None,
        found => found?,
    };
    let Some(found) = found else { return Ok(None) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &found.data["spec"];
    let issuer = of_kind("Issuer").get_opt(&text(&spec["issuerRef"]["name"])).await?;
    let names = spec["dnsNames"].as_array().into_iter().flatten().map(text).collect();
    Ok(issuer.map(|_| (text(&spec["secretName"]), names)))
}

/// Issues a CA certificate for this key, valid from now on.
fn issue_ca(key: &KeyPair) -> anyhow::Result<Pair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "workflow-injector-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(key)?.pem();
    Ok(Pair { certificate, key: workflow_contract::Secret::new(&key.serialize_pem()) })
}
