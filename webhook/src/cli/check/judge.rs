//! What the evidence says about the installation, and what to do. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;
use workflow_certs::{store, trust};
use workflow_contract::names::{INJECTOR, REFUSAL_PREFIX, TLS_SECRET};

/// What the dry-run of a session-like pod came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    /// Nobody objected.
    Accepted,
    /// The API server said no.
    Refused {
        /// HTTP status.
        code: u16,
        /// Its message.
        message: String,
    },
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// `None` before the registration.
    pub dry_run: Option<DryRun>,
    /// `None` before the registration; within it, whether there is one.
    pub registration: Option<Option<MutatingWebhookConfiguration>>,
    /// The uid of our namespace.
    pub namespace_uid: Option<String>,
    /// Our Deployment.
    pub deployment: Option<DynamicObject>,
    /// Our pods.
    pub pods: Vec<DynamicObject>,
    /// The Secret of self-managed certificates.
    pub secret: Option<Secret>,
}

/// One line of the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    about: &'static str,
    verdict: Result<String, String>,
}

impl Finding {
    /// Whether nothing is wrong here.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.verdict.is_ok()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Ok(text) => ("ok", text),
            Err(text) => ("FAILED", text),
        };
        write!(f, "{word:<7} {:<13} {text}", self.about)
    }
}

/// Judges what was seen, at `now`.
#[must_use]
pub fn judge(evidence: &Evidence, now: Timestamp) -> Vec<Finding> {
    let registration = evidence.registration.as_ref();
    let mut findings = Vec::new();
    let mut add = |about, verdict| findings.push(Finding { about, verdict });
    if let Some(dry_run) = &evidence.dry_run {
        add("admission", admission(dry_run));
    }
    if let Some(found) = registration {
        add("registration", registered(found.as_ref(), evidence.namespace_uid.as_deref()));
    }
    if !other_issuer(evidence.deployment.as_ref()) {
        add("certificate", certificate(evidence.secret.as_ref(), registration.and_then(Option::as_ref), now));
    }
    add("replicas", replicas(evidence.deployment.as_ref(), &evidence.pods));
    add("versions", versions(&evidence.pods));
    findings
}

fn admission(dry_run: &DryRun) -> Result<String, String> {
    let DryRun::Refused { code, message } = dry_run else {
        return Err("a session-like pod was not shown to the webhook: the registration is missing or its \
             selectors were changed; kubectl apply -k manifests/registration"
            .to_owned());
    };
    if message.contains(&format!("denied the request: {REFUSAL_PREFIX}")) {
        return if *code == 403 {
            Ok("a pod of a session that does not exist is refused by us, by the real path".to_owned())
        } else {
            Err(format!(
                "the webhook answers, but can't look up sessions: {message}; kubectl apply -k the overlay again, which grants the rights"
            ))
        };
    }
    if !message.contains("failed calling webhook") || !message.contains(".workflow.ambient-code.io") {
        return Err(format!(
            "somebody else refused the test pod: {message}; name a namespace where pods may be created (--namespace)"
        ));
    }
    let remedies = [
        ("x509: certificate has expired", "the certificate is over; see the line `certificate`"),
        ("x509:", "caBundle does not fit the certificate; the leader fills it within a minute, see its logs"),
        ("no endpoints available", "no replica is ready; see the line `replicas`"),
        ("not found", "the Service is missing; kubectl apply -k the overlay again"),
        ("connection refused", "nothing listens behind the Service; see the line `replicas`"),
        (
            "deadline exceeded",
            "no answer within the time limit: is port 8443 of the pods open to the API server?",
        ),
        (
            "Client.Timeout",
            "no answer within the time limit: is port 8443 of the pods open to the API server?",
        ),
    ];
    let remedy = remedies.iter().find(|(symptom, _)| message.contains(symptom));
    let remedy = remedy.map_or("see the logs of the injector", |(_, remedy)| remedy);
    Err(format!("the API server can't call the webhook: {message}; {remedy}"))
}

fn registered(
    found: Option<&MutatingWebhookConfiguration>,
    namespace_uid: Option<&str>,
) -> Result<String, String> {
    let Some(found) = found else {
        return Err("there is none, no pod is injected; kubectl apply -k manifests/registration".to_owned());
    };
    let webhooks = found.webhooks.as_deref().unwrap_or_default();
    if webhooks.is_empty() {
        return Err("it has no webhooks; kubectl apply -k manifests/registration".to_owned());
    }
    for webhook in webhooks {
        let name = &webhook.name;
        if webhook.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty()) {
            return Err(format!("{name} has no caBundle; the leader fills it within a minute, see its logs"));
        }
        if webhook.failure_policy.as_deref().is_some_and(|policy| policy != "Fail") {
            return Err(format!(
                "{name} has another failurePolicy than Fail, pods can slip through; \
                 kubectl apply -k manifests/registration"
            ));
        }
    }
    let owned = found.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == namespace_uid);
    if owned {
        Ok("it is there, every entry has a caBundle, and it goes with our namespace".to_owned())
    } else {
        Err("our namespace does not own it, it would stay when the namespace goes; \
             the leader adds that within a minute, see its logs"
            .to_owned())
    }
}

/// Whether the Deployment serves a folder that another issuer keeps.
fn other_issuer(deployment: Option<&DynamicObject>) -> bool {
    let containers =
        deployment.map(|deployment| list(&deployment.data["spec"]["template"]["spec"]["containers"]));
    let mut args = containers.into_iter().flatten().flat_map(|container| list(&container["args"]));
    args.any(|arg| arg.as_str().is_some_and(|arg| arg.starts_with("--tls-dir")))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn certificate(
    secret: Option<&Secret>,
    registration: Option<&MutatingWebhookConfiguration>,
    now: Timestamp,
) -> Result<String, String> {
    let Some(secret) = secret else {
        return Err(format!("the Secret {TLS_SECRET} is missing; the leader makes it, see its logs"));
    };
    let state = store::decode(secret.data.as_ref().unwrap_or(&BTreeMap::new())).map_err(|error| {
        format!("the Secret {TLS_SECRET} is damaged: {error}; delete it, the leader writes it anew")
    })?;
    let until = state.leaf.facts.not_after;
    if now >= until {
        return Err(format!("it expired at {until}; the leader renews it, see its logs"));
    }
    let name = format!("{INJECTOR}.{INJECTOR}.svc");
    for webhook in registration.into_iter().flat_map(|found| found.webhooks.iter().flatten()) {
        let Some(bundle) = &webhook.client_config.ca_bundle else { continue };
        let bundle = String::from_utf8_lossy(&bundle.0);
        trust::trusts(&bundle, &state.leaf.pair.certificate, &name, now).map_err(|error| {
            format!("the caBundle of {} does not trust it: {error}; the leader fills it within a minute, see its logs", webhook.name)
        })?;
    }
    Ok(format!("valid until {until}"))
}

fn replicas(deployment: Option<&DynamicObject>, pods: &[DynamicObject]) -> Result<String, String> {
    let Some(deployment) = deployment else {
        return Err(format!("there is no Deployment {INJECTOR}; kubectl apply -k the overlay"));
    };
    let wanted = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = deployment.data["status"]["readyReplicas"].as_i64().unwrap_or(0);
    if wanted > 0 && ready >= wanted {
        return Ok(format!("{ready} of {wanted} are ready"));
    }
    let why = pods.iter().find_map(waiting).map(|why| format!(": {why}")).unwrap_or_default();
    Err(format!("{ready} of {wanted} are ready{why}; kubectl -n {INJECTOR} describe pods"))
}

/// Why a pod's container does not run, in the kubelet's words.
fn waiting(pod: &DynamicObject) -> Option<String> {
    let statuses = list(&pod.data["status"]["containerStatuses"]);
    let reason = statuses.iter().find_map(|status| status["state"]["waiting"]["reason"].as_str())?;
    Some(format!("{} waits with {reason}", pod.name_any()))
}

fn versions(pods: &[DynamicObject]) -> Result<String, String> {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    let specs = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    for container in specs.flat_map(|pod| list(&pod.data["spec"]["containers"])) {
        *images.entry(container["image"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let list: Vec<String> = images.iter().map(|(image, count)| format!("{count} of {image}")).collect();
    match images.len() {
        0 => Err("no replica runs; see the line `replicas`".to_owned()),
        1 => Ok(format!("all replicas run one image: {}", list.join(", "))),
        _ => Err(format!(
            "two versions serve at once: {}; kubectl -n {INJECTOR} rollout status deployment/{INJECTOR}",
            list.join(", ")
        )),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
