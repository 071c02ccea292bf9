//! The certificate: whether it is there, in time, trusted by the caBundle that API servers go by, and served.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;
use serde_json::Value;
use workflow_certs::{CertInfo, store, verify};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use super::{Verdict, containers, list};
use crate::cli::check::evidence::Evidence;

/// Flag with the directory that another issuer keeps.
const TLS_DIR: &str = "--tls-dir";

/// Whether the injector makes its certificates itself; so it does by default.
pub fn is_self_managed(deployment: Option<&DynamicObject>) -> bool {
    directory(deployment).is_none()
}

/// Name of the Secret with the certificate: our own, or the one that is mounted where another issuer's is read.
pub fn certificate_secret(deployment: Option<&DynamicObject>) -> Option<String> {
    let Some(directory) = directory(deployment) else { return Some(TLS_SECRET.to_owned()) };
    let mounts = containers(deployment).iter().flat_map(|container| list(&container["volumeMounts"]));
    let trimmed = |path: &Value| path.as_str().unwrap_or_default().trim_end_matches('/').to_owned();
    let volume =
        mounts.into_iter().find(|mount| trimmed(&mount["mountPath"]) == directory)?["name"].as_str()?;
    let volumes = list(&deployment?.data["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes.iter().find(|one| one["name"] == volume)?;
    let projected =
        list(&volume["projected"]["sources"]).iter().find_map(|source| source["secret"]["name"].as_str());
    volume["secret"]["secretName"].as_str().or(projected).map(str::to_owned)
}

fn directory(deployment: Option<&DynamicObject>) -> Option<String> {
    let mut args = containers(deployment)
        .iter()
        .flat_map(|container| list(&container["args"]))
        .filter_map(Value::as_str);
    let given = args.find_map(|arg| arg.strip_prefix(TLS_DIR).map(str::to_owned))?;
    let directory =
        if given.is_empty() { args.next()?.to_owned() } else { given.trim_start_matches('=').to_owned() };
    Some(directory.trim_end_matches('/').to_owned())
}

/// `None` where it is kept in a place that can't be looked into.
pub fn certificate(evidence: &Evidence, now: Timestamp) -> Option<Verdict> {
    let deployment = evidence.deployment.as_ref();
    let name = certificate_secret(deployment)?;
    Some(judged(evidence, &Issuer { secret: name, own: is_self_managed(deployment) }, now))
}

/// Who makes the certificate, and where it is kept.
struct Issuer {
    secret: String,
    own: bool,
}

impl Issuer {
    fn remedy(&self) -> &'static str {
        if self.own { "the leader renews it within a minute, see its logs" } else { "see to its issuer" }
    }

    fn bundle_remedy(&self) -> &'static str {
        if self.own { "the leader fills it within a minute, see its logs" } else { "its issuer fills it" }
    }

    /// The chain that is served.
    fn chain(&self, secret: Option<&Secret>) -> Result<String, String> {
        let Self { secret: name, own } = self;
        let maker = if *own { "the leader makes it, see its logs" } else { "its issuer makes it" };
        let secret = secret.ok_or_else(|| format!("the Secret {name} is missing; {maker}"))?;
        let data = secret.data.clone().unwrap_or_default();
        if *own {
            let state = store::decode(&data).map_err(|error| match store::foreign(secret) {
                Some(foreign) => foreign.to_string(),
                None => {
                    format!("the Secret {name} is damaged: {error}; delete it, the leader creates a new one")
                }
            })?;
            return Ok(state.serving.pair.certificate);
        }
        let chain = data.get(store::CERTIFICATE).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        chain.ok_or_else(|| format!("the Secret {name} has no {}; {maker}", store::CERTIFICATE))
    }
}

fn judged(evidence: &Evidence, issuer: &Issuer, now: Timestamp) -> Verdict {
    let chain = issuer.chain(evidence.secret.as_ref())?;
    let info = CertInfo::from_pem(&chain).map_err(|error| {
        format!("the Secret {} can't be read: {error}; {}", issuer.secret, issuer.remedy())
    })?;
    info.check_time(now).map_err(|error| format!("{error}; {}", issuer.remedy()))?;
    let name = format!("{INJECTOR}.{INJECTOR}.svc");
    let registration = evidence.registration.iter().flatten();
    for webhook in registration.flat_map(|found| found.webhooks.iter().flatten()) {
        let Some(bundle) = &webhook.client_config.ca_bundle else { continue };
        let bundle = String::from_utf8_lossy(&bundle.0);
        verify::verify(&bundle, &chain, &name, now).map_err(|error| {
            format!("the caBundle of {} does not trust it: {error}; {}", webhook.name, issuer.bundle_remedy())
        })?;
    }
    if let Some((pod, _)) = evidence.told.iter().find(|(_, told)| told.certificate_current == Some(false)) {
        return Err(format!(
            "{pod} can't use the latest certificate, or can't renew it; kubectl -n {INJECTOR} logs {pod}"
        ));
    }
    for (pod, told) in &evidence.told {
        if let Some(over) = told.expires.filter(|served| now >= *served) {
            return Err(format!(
                "{pod} still serves one that expired at {over}; kubectl -n {INJECTOR} delete pod {pod}"
            ));
        }
    }
    Ok(format!("valid until {}", info.not_after))
}
