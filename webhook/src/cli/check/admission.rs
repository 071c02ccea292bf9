//! Creates a session-like pod with `dryRun`: it must be denied by our own webhook.

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::PostParams;
use serde_json::{Value, json};
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, DENIAL_PREFIX, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, SESSION_LABEL,
    SESSION_VERSION, runner_pod,
};

use super::result::CheckResult;
use crate::cli::untyped::untyped;

/// The session that the dry-run pod claims; it must not exist.
const NO_SESSION: &str = "workflow-injector-check";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    Admitted,
    Denied { code: u16, message: String },
}

/// Creates the pod with `dryRun`, which leaves nothing behind.
pub async fn dry_run(client: &Client, namespace: &str) -> anyhow::Result<DryRun> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod = serde_json::from_value(session_pod()).context("failed to build a pod")?;
    match untyped::<Pod>(client, namespace).create(&params, &pod).await {
        Ok(_) => Ok(DryRun::Admitted),
        Err(kube::Error::Api(status)) => {
            Ok(DryRun::Denied { code: status.code, message: status.message.clone() })
        }
        Err(error) => Err(error).context("failed to reach the API server"),
    }
}

pub fn judge(dry_run: &DryRun) -> CheckResult {
    let DryRun::Denied { code, message } = dry_run else {
        return Err("a session-like pod was not shown to the webhook, its registration is missing or was \
             changed; see the line `registration`"
            .to_owned());
    };
    if message.contains(&format!("denied the request: {DENIAL_PREFIX}")) {
        return if *code == 403 {
            Ok("a pod of a session that does not exist is denied by us, by the real path".to_owned())
        } else {
            Err(format!("the webhook responds, but can't look up sessions: {message}; see the line `rights`"))
        };
    }
    if !message.contains("failed calling webhook") || !message.contains(".workflow.ambient-code.io") {
        return Err(format!(
            "the test pod was denied, but not by us: {message}; name a namespace where pods may be created (--namespace)"
        ));
    }
    let slow = "no response within the time limit: is port 8443 of the pods open to the API server?";
    let remedies = [
        ("x509: certificate has expired", "the certificate is expired; see the line `certificate`"),
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

/// A pod that selectors, rules and match conditions treat as a session pod. Pod Security `restricted` admits it.
fn session_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": runner_pod(NO_SESSION),
            "labels": {APP_LABEL: APP_LABEL_VALUE, SESSION_LABEL: NO_SESSION},
            "ownerReferences": [{
                "apiVersion": format!("{SESSION_GROUP}/{SESSION_VERSION}"),
                "kind": SESSION_KIND,
                "name": NO_SESSION,
                "uid": "00000000-0000-0000-0000-000000000000",
                "controller": true,
            }],
        },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": RUNNER_CONTAINER,
                "image": "none",
                "env": [{"name": ACTIVE_WORKFLOW_GIT_URL, "value": "https://example.invalid/none"}],
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(code: u16, message: &str) -> DryRun {
        let message = format!("admission webhook \"inject.workflow.ambient-code.io\" {message}");
        DryRun::Denied { code, message }
    }

    fn failed_call(cause: &str) -> DryRun {
        let message = format!(
            "Internal error occurred: failed calling webhook \"inject.workflow.ambient-code.io\": failed to call webhook: \
             Post \"https://workflow-injector.workflow-injector.svc:443/mutate?timeout=5s\": {cause}"
        );
        DryRun::Denied { code: 500, message }
    }

    #[test]
    fn names_the_defect_and_its_remedy() {
        let ours =
            |code| denied(code, &format!("denied the request: {DENIAL_PREFIX}the session does not exist"));
        assert!(judge(&ours(403)).is_ok_and(|line| line.contains("by the real path")));
        let table = [
            (DryRun::Admitted, "the line `registration`"),
            (failed_call("x509: certificate signed by unknown authority"), "caBundle does not fit"),
            (failed_call("x509: certificate has expired or is not yet valid"), "the certificate is expired"),
            (failed_call("no endpoints available for service \"workflow-injector\""), "the line `service`"),
            (failed_call("service \"workflow-injector\" not found"), "the Service is missing"),
            (failed_call("dial tcp 10.0.0.1:443: connect: connection refused"), "nothing listens"),
            (failed_call("context deadline exceeded"), "port 8443"),
            (failed_call("something new"), "see the logs"),
            (ours(503), "can't look up sessions"),
            (denied(403, "denied the request: no"), "not by us"),
            (DryRun::Denied { code: 403, message: "pods is forbidden".into() }, "--namespace"),
        ];
        for (dry_run, remedy) in table {
            let problem = judge(&dry_run).unwrap_err();
            assert!(problem.contains(remedy), "{problem}");
        }
    }
}
