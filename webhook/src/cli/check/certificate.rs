//! The serving certificate is in the Secret, valid, trusted by every caBundle, and served by each replica.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use workflow_certs::{CertInfo, store, verify};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use super::replicas::{ReplicaReport, containers};
use super::result::{CheckResult, list};

const TLS_DIR: &str = "--tls-dir";

/// The issuer of the certificate, and the Secret that holds it.
pub struct CertificateSecret {
    secret: String,
    self_managed: bool,
}

pub fn is_self_managed(deployment: Option<&DynamicObject>) -> bool {
    directory(deployment).is_none()
}

pub async fn secret(client: &Client, issuer: &CertificateSecret) -> anyhow::Result<Option<Secret>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), INJECTOR);
    secrets.get_opt(&issuer.secret).await.context("failed to read the Secret with the certificate")
}

/// Returns the directory of another issuer.
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

/// Returns the Secret that is mounted at a directory of the pods.
fn mounted_secret(deployment: Option<&DynamicObject>, directory: &str) -> Option<String> {
    let mut mounts = containers(deployment).iter().flat_map(|container| list(&container["volumeMounts"]));
    let path =
        |mount: &Value| mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
    let name = mounts.find(|mount| path(mount) == directory)?["name"].as_str()?;
    let volume = list(&deployment?.data["spec"]["template"]["spec"]["volumes"])
        .iter()
        .find(|one| one["name"] == name)?;
    let projected =
        list(&volume["projected"]["sources"]).iter().find_map(|source| source["secret"]["name"].as_str());
    volume["secret"]["secretName"].as_str().or(projected).map(str::to_owned)
}

impl CertificateSecret {
    /// Returns `None` if the certificate is not in a Secret.
    pub fn of(deployment: Option<&DynamicObject>) -> Option<Self> {
        match directory(deployment) {
            None => Some(Self { secret: TLS_SECRET.to_owned(), self_managed: true }),
            Some(directory) => {
                Some(Self { secret: mounted_secret(deployment, &directory)?, self_managed: false })
            }
        }
    }

    fn remedy(&self, verb: &str) -> String {
        if self.self_managed {
            format!("the leader {verb} it within a minute, see its logs")
        } else {
            format!("its issuer {verb} it, see its state")
        }
    }

    /// Returns the chain that is served.
    fn chain(&self, secret: Option<&Secret>) -> Result<String, String> {
        let Self { secret: name, self_managed } = self;
        let secret =
            secret.ok_or_else(|| format!("the Secret {name} is missing; {}", self.remedy("creates")))?;
        let data = secret.data.clone().unwrap_or_default();
        if *self_managed {
            let state = store::decode(&data).map_err(|error| match store::unmanaged(secret) {
                Some(unmanaged) => unmanaged.to_string(),
                None => {
                    format!("the Secret {name} is damaged: {error}; delete it, the leader creates a new one")
                }
            })?;
            return Ok(state.serving.pair.certificate);
        }
        let chain = data.get(store::CERTIFICATE).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        chain.ok_or_else(|| {
            format!("the Secret {name} has no {}; {}", store::CERTIFICATE, self.remedy("writes"))
        })
    }

    pub fn judge(
        &self,
        secret: Option<&Secret>,
        webhooks: &[MutatingWebhook],
        reports: &BTreeMap<String, ReplicaReport>,
        now: Timestamp,
    ) -> CheckResult {
        let chain = self.chain(secret)?;
        let info = CertInfo::from_pem(&chain).map_err(|error| {
            format!("the Secret {} can't be read: {error}; {}", self.secret, self.remedy("renews"))
        })?;
        info.check_time(now).map_err(|error| format!("{error}; {}", self.remedy("renews")))?;
        let name = format!("{INJECTOR}.{INJECTOR}.svc");
        for webhook in webhooks {
            let Some(bundle) = &webhook.client_config.ca_bundle else { continue };
            let bundle = String::from_utf8_lossy(&bundle.0);
            verify::verify(&bundle, &chain, &name, now).map_err(|error| {
                format!(
                    "the caBundle of {} does not trust it: {error}; {}",
                    webhook.name,
                    self.remedy("fills")
                )
            })?;
        }
        for (pod, report) in reports {
            if let Some(end) = report.expires.filter(|end| now >= *end) {
                return Err(format!(
                    "{pod} still serves one that expired at {end}; kubectl -n {INJECTOR} delete pod {pod}"
                ));
            }
            if report.certificate_current == Some(false) {
                return Err(format!(
                    "{pod} can't issue, read or use the latest one; kubectl -n {INJECTOR} logs {pod}"
                ));
            }
        }
        Ok(format!("valid until {}", info.not_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;
    use workflow_certs::rotation::{Action, apply};
    use workflow_certs::{Lifetimes, State};

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn state() -> State {
        let names = [format!("{INJECTOR}.{INJECTOR}.svc")];
        apply(Action::Start, None, &names, now(), &Lifetimes::default()).unwrap()
    }

    fn stored(state: &State) -> Secret {
        Secret { data: Some(store::encode(state).unwrap()), ..Secret::default() }
    }

    fn webhooks(bundle: &str) -> Vec<MutatingWebhook> {
        let client = json!({"caBundle": ByteString(bundle.as_bytes().to_vec())});
        let webhook = json!({"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client});
        vec![serde_json::from_value(webhook).unwrap()]
    }

    fn deployment(args: &[&str], volume: &Value) -> DynamicObject {
        let container = json!({"args": args, "volumeMounts": [{"name": "pair", "mountPath": "/tls"}]});
        let spec = json!({"containers": [container], "volumes": [volume]});
        serde_json::from_value(json!({"metadata": {}, "spec": {"template": {"spec": spec}}})).unwrap()
    }

    fn problem(secret: Option<&Secret>, bundle: &str, report: ReplicaReport, now: Timestamp) -> String {
        let reports = [("p".to_owned(), report)].into();
        let issuer = CertificateSecret::of(None).unwrap();
        issuer.judge(secret, &webhooks(bundle), &reports, now).err().unwrap_or_default()
    }

    #[test]
    fn must_be_stored_valid_trusted_and_served() {
        let (state, other) = (state(), state());
        let (secret, bundle) = (stored(&state), state.bundle());
        let damaged: Secret =
            serde_json::from_value(json!({"metadata": {"labels": {"app.kubernetes.io/name": INJECTOR}}}))
                .unwrap();
        let unmanaged: Secret =
            serde_json::from_value(json!({"metadata": {}, "type": "kubernetes.io/tls"})).unwrap();
        assert_eq!(problem(Some(&secret), &bundle, ReplicaReport::default(), now()), "");
        let late = ReplicaReport { expires: Some(now()), ..ReplicaReport::default() };
        let stuck = ReplicaReport { certificate_current: Some(false), ..ReplicaReport::default() };
        let end = now() + Lifetimes::default().serving;
        let earlier = now() - jiff::SignedDuration::from_hours(25);
        for (secret, bundle, report, now, words) in [
            (None, &bundle, ReplicaReport::default(), now(), "is missing"),
            (
                Some(&damaged),
                &bundle,
                ReplicaReport::default(),
                now(),
                "`rotation.json` is missing; delete it",
            ),
            (Some(&unmanaged), &bundle, ReplicaReport::default(), now(), "its type is kubernetes.io/tls"),
            (Some(&secret), &other.bundle(), ReplicaReport::default(), now(), "does not trust it"),
            (Some(&secret), &bundle, ReplicaReport::default(), end, "expired at"),
            (Some(&secret), &bundle, ReplicaReport::default(), earlier, "is not valid before"),
            (Some(&secret), &bundle, late, now(), "p still serves one that expired"),
            (Some(&secret), &bundle, stuck, now(), "p can't issue, read or use the latest one"),
        ] {
            let problem = problem(secret, bundle, report, now);
            assert!(problem.contains(words), "{words}: {problem}");
        }
    }

    #[test]
    fn the_certificate_of_another_issuer_is_read_from_the_mounted_secret() {
        let state = state();
        let plain = json!({"name": "pair", "secret": {"secretName": "issued"}});
        let projected = json!({"name": "pair", "projected": {"sources": [{"secret": {"name": "issued"}}]}});
        let data =
            json!({"data": {"tls.crt": ByteString(state.serving.pair.certificate.clone().into_bytes())}});
        let secret: Secret = serde_json::from_value(data).unwrap();
        for args in [&["serve", "--tls-dir=/tls/"][..], &["serve", "--tls-dir", "/tls"]] {
            for volume in [&plain, &projected] {
                let deployment = deployment(args, volume);
                assert!(!is_self_managed(Some(&deployment)));
                let issuer = CertificateSecret::of(Some(&deployment)).unwrap();
                assert_eq!(issuer.secret, "issued");
                let judge =
                    |secret, bundle: &str| issuer.judge(secret, &webhooks(bundle), &BTreeMap::new(), now());
                assert!(judge(Some(&secret), &state.bundle()).is_ok());
                assert!(
                    judge(None, &state.bundle())
                        .unwrap_err()
                        .contains("the Secret issued is missing; its issuer")
                );
            }
        }
        let elsewhere = deployment(&["serve", "--tls-dir=/elsewhere"], &plain);
        assert!(CertificateSecret::of(Some(&elsewhere)).is_none(), "not in a Secret");
    }
}
