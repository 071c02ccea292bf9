//! Issuers that don't run here, played: each reads what our manifests ask it for, and writes what it is documented to
//! write. Their own programs are run by no test.
//!
//! cert-manager writes a Secret for each Certificate and renews it; its cainjector copies `ca.crt` of such a Secret to
//! the registrations that name the Certificate. OpenShift's service-ca writes a Secret for each Service that asks, without
//! `ca.crt`, and its authority to registrations that ask, and to a ConfigMap in every namespace.

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

/// By whom fields are written here.
pub const MANAGER: &str = "played-issuer";
/// Where cert-manager's cainjector is told which Certificate to take authorities from.
const INJECT_FROM: &str = "cert-manager.io/inject-ca-from";
/// Where OpenShift is told to write its authority.
const INJECT_BUNDLE: &str = "service.beta.openshift.io/inject-cabundle";
/// Where OpenShift is told how to call the Secret.
const SERVING_SECRET: &str = "service.beta.openshift.io/serving-cert-secret-name";

/// Which issuer is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    CertManager,
    OpenShift,
}

impl Way {
    /// The overlay's name.
    pub fn overlay(self) -> &'static str {
        match self {
            Self::CertManager => "cert-manager",
            Self::OpenShift => "openshift",
        }
    }
}

/// An issuer with its authority.
pub struct Issuer {
    way: Way,
    client: Client,
    key: KeyPair,
    authority: Pair,
    /// How long the leaves that it issues last.
    leaf: SignedDuration,
}

impl Issuer {
    pub fn new(way: Way, client: Client) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let authority = authority(&key)?;
        Ok(Self { way, client, key, authority, leaf: SignedDuration::from_hours(48) })
    }

    /// Issues what is asked for and not there yet. What does not exist asks for nothing.
    pub async fn tend(&self) -> anyhow::Result<()> {
        if let Some((name, names)) = self.asked().await? {
            if self.secrets().get_opt(&name).await?.is_none() {
                self.issue(&name, names).await?;
            }
            self.fill().await?;
        }
        Ok(())
    }

    /// Renews the authority as cert-manager does when told to keep the key, issues a leaf by it, and changes caBundle first:
    /// the order in which replicas are behind. Gives the expiry of the new leaf.
    pub async fn renew(&mut self) -> anyhow::Result<Timestamp> {
        self.leaf += SignedDuration::from_hours(24);
        self.authority = authority(&self.key)?;
        let (name, names) = self.asked().await?.context("nothing asks for a certificate")?;
        self.fill().await?;
        self.issue(&name, names).await
    }

    /// The authority as PEM.
    pub fn bundle(&self) -> &str {
        &self.authority.certificate
    }

    /// The Secret that is asked for, and the names that its certificate is to be for.
    async fn asked(&self) -> anyhow::Result<Option<(String, Vec<String>)>> {
        match self.way {
            Way::CertManager => Ok(certificate(&self.client, INJECTOR, INJECTOR).await?),
            Way::OpenShift => {
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
        let validity = Validity { not_before: now, not_after: now + self.leaf };
        let pair = issue::serving(&self.authority, &names, validity)?;
        let mut data = json!({ "tls.crt": pair.certificate, "tls.key": pair.key.expose() });
        if self.way == Way::CertManager {
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

    /// Fills caBundle where an annotation asks for it, resolved as the issuer resolves it.
    async fn fill(&self) -> anyhow::Result<()> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(found) = registrations.get_opt(INJECTOR).await? else { return Ok(()) };
        let asks = match self.way {
            Way::CertManager => {
                match found.annotations().get(INJECT_FROM).and_then(|it| it.split_once('/')) {
                    Some((namespace, name)) => certificate(&self.client, namespace, name).await?.is_some(),
                    None => false,
                }
            }
            Way::OpenShift => found.annotations().get(INJECT_BUNDLE).is_some_and(|asks| asks == "true"),
        };
        let bundle = ByteString(self.bundle().as_bytes().to_vec());
        let operations: Vec<Value> = found
            .webhooks
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, webhook)| asks && webhook.client_config.ca_bundle.as_ref() != Some(&bundle))
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

/// The Secret and the names of this Certificate, whose issuer must be there as well.
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

/// A certificate of the authority that has this key, valid from now on.
fn authority(key: &KeyPair) -> anyhow::Result<Pair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "workflow-injector-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(key)?.pem();
    Ok(Pair { certificate, key: workflow_contract::Secret::new(&key.serialize_pem()) })
}
