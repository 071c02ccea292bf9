//! `check`: is the installation sound? One line each, with the remedy; only what was looked at.
//!
//! ```text
//!  API server (dry-run pod, registration, Secret, pods) -> Evidence -> judge (pure) -> lines
//! ```
//!
//! The first line is the one that counts: a pod like a session's, created with `dryRun`, takes the
//! real path through selectors, Service, certificate and the handler's own rights.

pub mod judge;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use workflow_contract::env::ACTIVE_WORKFLOW_GIT_URL;
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, INJECTOR, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, SESSION_LABEL,
    SESSION_VERSION, TLS_SECRET, runner_pod,
};

use super::untyped;
use judge::{DryRun, Evidence, Finding};

/// Name of the session that the dry-run pod claims; it must not exist.
const NO_SESSION: &str = "workflow-injector-check";

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the dry-run pod: any that sessions may live in. Nothing is created there.
    pub namespace: String,
    /// Judge what must hold before the registration is applied: replicas and certificate, but
    /// neither registration nor admission.
    pub before_registration: bool,
}

/// Looks at the installation in the client's cluster and prints one line for each finding.
///
/// # Errors
/// What could not be looked at, such as for lack of rights; that is no verdict.
pub async fn run(client: Client, options: &Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let evidence = gather(&client, options).await?;
    let findings = judge::judge(&evidence, Timestamp::now());
    for finding in &findings {
        writeln!(out, "{finding}").context("failed to write the findings")?;
    }
    let sound = findings.iter().all(Finding::is_ok);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gather(client: &Client, options: &Options) -> anyhow::Result<Evidence> {
    let all = || client.clone();
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(all());
    let deployments = untyped::<Deployment>(client, INJECTOR);
    let secrets: Api<Secret> = Api::namespaced(all(), INJECTOR);
    let namespace = Api::<Namespace>::all(all()).get_opt(INJECTOR).await;
    let pods = ListParams::default().labels(&format!("app.kubernetes.io/name={INJECTOR}"));
    let pods = untyped::<Pod>(client, INJECTOR).list(&pods).await;
    let (registration, dry_run) = if options.before_registration {
        (None, None)
    } else {
        let found = registrations.get_opt(INJECTOR).await.context("failed to read the registration")?;
        (Some(found), Some(dry_run(client, &options.namespace).await?))
    };
    Ok(Evidence {
        dry_run,
        registration,
        namespace_uid: namespace.context("failed to read the namespace")?.and_then(|found| found.uid()),
        deployment: deployments.get_opt(INJECTOR).await.context("failed to read the Deployment")?,
        pods: pods.context("failed to list the injector's pods")?.items,
        secret: secrets
            .get_opt(TLS_SECRET)
            .await
            .context("failed to read the Secret with the certificates")?,
    })
}

/// Creates a session-like pod with `dryRun`, which leaves nothing behind.
async fn dry_run(client: &Client, namespace: &str) -> anyhow::Result<DryRun> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod: DynamicObject = serde_json::from_value(session_pod()).context("failed to make a pod")?;
    match untyped::<Pod>(client, namespace).create(&params, &pod).await {
        Ok(_) => Ok(DryRun::Accepted),
        Err(kube::Error::Api(status)) => {
            Ok(DryRun::Refused { code: status.code, message: status.message.clone() })
        }
        Err(error) => Err(error).context("failed to reach the API server"),
    }
}

/// A pod as the operator makes it for a session with a workflow, as far as selectors and rules look.
/// It would be admitted under Pod Security `restricted`.
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
