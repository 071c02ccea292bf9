//! A fake of OpenShift's service-ca, whose operator is not published as a Go module: it reads the requests of our manifests and
//! writes what OpenShift's documentation promises.
//!
//! It writes a Secret without `ca.crt` for each annotated Service, and its CA bundle to annotated registrations and to a
//! ConfigMap in every namespace.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use workflow_certs::issue::{self, Validity};
use workflow_certs::{CertInfo, Pair};
use workflow_contract::names::INJECTOR;

/// The field manager of the fake.
pub const MANAGER: &str = "fake-service-ca";
/// The annotation that requests a CA bundle.
const INJECT_BUNDLE: &str = "service.beta.openshift.io/inject-cabundle";
/// The annotation with the name of the requested Secret.
const SERVING_SECRET: &str = "service.beta.openshift.io/serving-cert-secret-name";

pub struct FakeServiceCa {
    client: Client,
    key: KeyPair,
    ca: Pair,
    /// Lifetime of the next serving certificate.
    lifetime: SignedDuration,
}

impl FakeServiceCa {
    pub fn new(client: Client) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let ca = issue_ca(&key)?;
        Ok(Self { client, key, ca, lifetime: SignedDuration::from_hours(48) })
    }

    /// Issues the requested certificate, if there is none yet, and fills caBundle.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        if let Some(name) = self.requested().await? {
            if self.secrets().get_opt(&name).await?.is_none() {
                self.issue(&name).await?;
            }
            self.fill_ca_bundle().await?;
        }
        Ok(())
    }

    /// Renews the CA with the same key, changes caBundle, then issues a serving certificate. In this order replicas serve
    /// the old certificate under the new caBundle for a while.
    pub async fn renew(&mut self) -> anyhow::Result<CertInfo> {
        self.lifetime += SignedDuration::from_hours(24);
        self.ca = issue_ca(&self.key)?;
        let name = self.requested().await?.context("no certificate is requested")?;
        self.fill_ca_bundle().await?;
        self.issue(&name).await
    }

    /// The CA bundle as PEM.
    pub fn bundle(&self) -> &str {
        &self.ca.certificate
    }

    /// The name of the requested Secret.
    async fn requested(&self) -> anyhow::Result<Option<String>> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), INJECTOR);
        let service = services.get_opt(INJECTOR).await?;
        Ok(service.and_then(|service| service.annotations().get(SERVING_SECRET).cloned()))
    }

    async fn issue(&self, name: &str) -> anyhow::Result<CertInfo> {
        let now = Timestamp::now();
        let validity = Validity { not_before: now, not_after: now + self.lifetime };
        let service = format!("{INJECTOR}.{INJECTOR}.svc");
        let names = [service.clone(), format!("{service}.cluster.local")];
        let pair = issue::serving(&self.ca, &names, validity)?;
        let published = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "openshift-service-ca.crt" },
            "data": { "service-ca.crt": self.bundle() },
        });
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), INJECTOR);
        maps.patch("openshift-service-ca.crt", &apply(), &Patch::Apply(published)).await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": name },
            "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key.expose() },
        });
        self.secrets().patch(name, &apply(), &Patch::Apply(secret)).await?;
        Ok(CertInfo::from_pem(&pair.certificate)?)
    }

    /// Fills caBundle if the annotation requests it.
    async fn fill_ca_bundle(&self) -> anyhow::Result<()> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(found) = registrations.get_opt(INJECTOR).await? else { return Ok(()) };
        let requested = found.annotations().get(INJECT_BUNDLE).is_some_and(|value| value == "true");
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

/// Issues a CA certificate for this key, valid from now on.
fn issue_ca(key: &KeyPair) -> anyhow::Result<Pair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "workflow-injector-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(key)?.pem();
    Ok(Pair { certificate, key: workflow_contract::Secret::new(&key.serialize_pem()) })
}
