//! cert-manager's own controllers and cainjector, as one program on this machine (`tests/cluster/cert-manager`). Its webhook,
//! which validates and defaults its own kinds, is not part of it.

use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;
use workflow_certs::CertInfo;
use workflow_contract::names::INJECTOR;

use crate::background::Background;
use crate::wait::until_found;

/// The field manager of the cainjector.
pub const CAINJECTOR: &str = "cert-manager-cainjector";
/// The Certificate of the CA in our overlay.
pub const CA: &str = "workflow-injector-ca";
/// The serving certificate's Certificate in our overlay.
pub const SERVING: &str = INJECTOR;

/// The running controllers.
pub struct CertManager {
    client: Client,
    _program: Background,
}

/// The content of a Certificate's Secret.
pub struct Issued {
    pub info: CertInfo,
    pub key: ByteString,
    /// `ca.crt`, as PEM.
    pub ca: String,
}

impl CertManager {
    /// Starts the controllers for the cluster of an admin's kubeconfig, which must have their CRDs; they log beside it.
    pub fn start(client: Client, kubeconfig: &Path) -> anyhow::Result<Self> {
        let flags = vec![("--kubeconfig", kubeconfig.display().to_string())];
        let logs = kubeconfig.parent().context("the kubeconfig has no directory")?;
        Ok(Self { client, _program: Background::start("cert-manager", flags, logs)? })
    }

    /// Waits until a Certificate of our namespace is issued.
    pub async fn issued(&self, name: &str) -> anyhow::Result<Issued> {
        let what = format!("the Secret of the Certificate {name}");
        until_found(&what, || async { self.read(name).await.map(Some) }).await
    }

    /// Renews a Certificate of our namespace at once, as `cmctl renew` does.
    pub async fn renew(&self, name: &str) -> anyhow::Result<Issued> {
        let before = self.issued(name).await?.info;
        let condition = json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a test",
            "lastTransitionTime": Timestamp::now(),
        });
        let change = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "status": { "conditions": [condition] },
        });
        let params = PatchParams::apply("cmctl").force();
        self.certificates().patch_status(name, &params, &Patch::Apply(change)).await?;
        self.until_other(name, &before).await
    }

    /// Deletes the Secret of a Certificate of our namespace, so that it is issued with another key.
    pub async fn replace(&self, name: &str) -> anyhow::Result<Issued> {
        let before = self.issued(name).await?.info;
        let secret = self.secret_of(name).await?;
        self.secrets().delete(&secret, &DeleteParams::default()).await?;
        self.until_other(name, &before).await
    }

    /// Waits until a Certificate's Secret holds another certificate than this one.
    async fn until_other(&self, name: &str, before: &CertInfo) -> anyhow::Result<Issued> {
        until_found(&format!("the renewal of the Certificate {name}"), || async {
            let now = self.read(name).await?;
            Ok((now.info.serial != before.serial).then_some(now))
        })
        .await
    }

    async fn read(&self, name: &str) -> anyhow::Result<Issued> {
        let secret = self.secret_of(name).await?;
        let mut data = self.secrets().get(&secret).await?.data.unwrap_or_default();
        let mut take = |key: &str| data.remove(key).with_context(|| format!("{secret} has no {key}"));
        let (certificate, key, ca) = (take("tls.crt")?, take("tls.key")?, take("ca.crt")?);
        Ok(Issued {
            info: CertInfo::from_pem(&String::from_utf8(certificate.0)?)?,
            key,
            ca: String::from_utf8(ca.0)?,
        })
    }

    async fn secret_of(&self, name: &str) -> anyhow::Result<String> {
        let certificate = self.certificates().get(name).await?;
        certificate.data["spec"]["secretName"].as_str().map(str::to_owned).context("no secretName")
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), INJECTOR)
    }

    fn certificates(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
        Api::namespaced_with(self.client.clone(), INJECTOR, &ApiResource::from_gvk(&kind))
    }
}
