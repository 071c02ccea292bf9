//! What the evidence says about the installation, and what to do. Pure.

mod certificate;
mod registration;
mod replicas;
mod sessions;

use std::fmt;

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::Value;
use workflow_contract::names::{DENIAL_PREFIX, INJECTOR};
use workflow_contract::text::one_line;

use super::evidence::{DryRun, Evidence, Told, Unpulled};
use super::rights::Right;
use crate::config;

pub(super) use certificate::{certificate_secret, is_self_managed};

/// What is said of one thing: all is well, or what is wrong and what to do.
type Verdict = Result<String, String>;

/// One line of the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    about: &'static str,
    verdict: Verdict,
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
        // What others wrote (a message, a name) breaks no line.
        write!(f, "{word:<7} {:<13} {}", self.about, one_line(text))
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
        let uid = evidence.namespace_uid.as_deref();
        add("registration", registration::registration(found.as_ref(), uid));
    }
    if let Some(verdict) = certificate::certificate(evidence, now) {
        add("certificate", verdict);
    }
    add("replicas", replicas::replicas(evidence));
    add("service", replicas::service(evidence.endpoints, evidence.deployment.as_ref()));
    add("versions", replicas::versions(evidence));
    add("rights", rights(&evidence.denied));
    add("config", configuration(evidence.config.as_deref(), evidence.told.values()));
    if let Some(unpulled) = evidence.unpulled.first() {
        add("image", Err(image(unpulled, evidence.unpulled.len())));
    }
    for verdict in evidence.sessions.iter().flat_map(|failed| sessions::sessions(failed, &evidence.restarts))
    {
        add("sessions", verdict);
    }
    findings
}

fn admission(dry_run: &DryRun) -> Verdict {
    let DryRun::Refused { code, message } = dry_run else {
        return Err("a session-like pod was not shown to the webhook, its registration is missing or was \
             changed; see the line `registration`"
            .to_owned());
    };
    if message.contains(&format!("denied the request: {DENIAL_PREFIX}")) {
        return if *code == 403 {
            Ok("a pod of a session that does not exist is refused by us, by the real path".to_owned())
        } else {
            Err(format!("the webhook answers, but can't look up sessions: {message}; see the line `rights`"))
        };
    }
    if !message.contains("failed calling webhook") || !message.contains(".workflow.ambient-code.io") {
        return Err(format!(
            "somebody else refused the test pod: {message}; name a namespace where pods may be created (--namespace)"
        ));
    }
    let slow = "no answer within the time limit: is port 8443 of the pods open to the API server?";
    let remedies = [
        ("x509: certificate has expired", "the certificate is over; see the line `certificate`"),
        ("x509:", "caBundle does not fit the certificate; see the line `certificate`"),
        ("no endpoints available", "no replica is ready; see the line `service`"),
        ("not found", "the Service is missing; see the line `service`"),
        ("connection refused", "nothing listens behind the Service; see the line `service`"),
        ("deadline exceeded", slow),
        ("Client.Timeout", slow),
    ];
    let remedy = remedies.iter().find(|(symptom, _)| message.contains(symptom));
    let remedy = remedy.map_or("see the logs of the injector", |(_, remedy)| remedy);
    Err(format!("the API server can't call the webhook: {message}; {remedy}"))
}

fn rights(denied: &[(Right, &'static str)]) -> Verdict {
    let Some((right, verb)) = denied.first() else {
        return Ok("the injector's account may do what it needs".to_owned());
    };
    let more = match denied.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    Err(format!(
        "the account {INJECTOR} may not {verb} {}{group}{more}: {}; `make install` grants it",
        right.resource, right.without
    ))
}

fn configuration<'a>(config: Option<&str>, told: impl Iterator<Item = &'a Told>) -> Verdict {
    let edit = format!("kubectl -n {INJECTOR} edit configmap {INJECTOR}");
    let Some(text) = config else {
        return Err(format!("the ConfigMap {INJECTOR} has no config.yaml; `make install` makes it"));
    };
    let config = config::parse(text).map_err(|error| {
        format!("config.yaml is refused, the last good one stays in use: {error}; {edit}")
    })?;
    let late = told.filter(|told| told.config_current == Some(false)).count();
    if late > 0 {
        return Err(format!(
            "{late} replicas refused the config.yaml that they see; if this stays for more than two minutes: \
             kubectl -n {INJECTOR} logs deployment/{INJECTOR}"
        ));
    }
    Ok(format!("config.yaml is good, the init container's image is {}", config.image))
}

fn image(unpulled: &Unpulled, count: usize) -> String {
    let Unpulled { pod, image } = unpulled;
    format!(
        "the init container's image {image} can't be pulled, {count} pods wait for it, {pod} among them; correct \
         `image` in the ConfigMap {INJECTOR} or the nodes' access to the registry, then start these sessions again"
    )
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The containers of the pods that a Deployment makes.
fn containers(deployment: Option<&DynamicObject>) -> &[Value] {
    deployment
        .map(|deployment| list(&deployment.data["spec"]["template"]["spec"]["containers"]))
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
