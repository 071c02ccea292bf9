//! The shape of a session's pod: pure, `session -> pod`, as the platform's operator makes it.

use kube::ResourceExt;
use serde_json::{Value, json};
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, HYDRATE_CONTAINER, RUNNER_CONTAINER, SESSION_LABEL, WORKSPACE_MOUNT,
    runner_pod,
};

use crate::session::Session;

use crate::environment;
use crate::objects::{session_owner, token_secret};
use crate::settings::Settings;

/// ConfigMap of the platform's CA bundle; mounted where the namespace has it.
pub const TRUSTED_CA: &str = "trusted-ca-bundle";
pub const TRUSTED_CA_KEY: &str = "ca-bundle.crt";
/// Mount path of the bundle in runners.
const TRUSTED_CA_FILE: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// Name of the volume that the containers share.
const WORKSPACE: &str = "workspace";

/// Inputs of a pod besides its session.
pub(crate) struct PodInputs<'a> {
    pub(crate) settings: &'a Settings,
    /// The session has run before: its runner will skip the prompt.
    pub(crate) resume: bool,
    /// The namespace has [`TRUSTED_CA`].
    pub(crate) trusted_ca: bool,
}

/// The session's pod, as it is sent to the API server.
pub(crate) fn pod(session: &Session, facts: &PodInputs<'_>) -> Value {
    let name = session.name_any();
    let uid = session.uid().unwrap_or_default();
    let settings = facts.settings;
    let pod_security = match settings.user {
        Some(user) => json!({ "fsGroup": user }),
        None if settings.fs_group => json!({ "fsGroup": 0, "fsGroupChangePolicy": "OnRootMismatch" }),
        None => json!({}),
    };
    let mut spec = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "securityContext": pod_security,
        "volumes": volumes(&name, facts),
        "containers": [runner(session, facts), state_sync(settings)],
    });
    if let Some(scheduler) = &settings.scheduler {
        spec["schedulerName"] = json!(scheduler);
    }
    if let Some(gate) = &settings.scheduling_gate {
        spec["schedulingGates"] = json!([{ "name": gate }]);
    }
    if settings.workspace {
        spec["initContainers"] = json!([hydrate(session, settings)]);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": runner_pod(&name),
            "labels": { APP_LABEL: APP_LABEL_VALUE, SESSION_LABEL: name },
            "ownerReferences": [session_owner(&name, &uid)],
        },
        "spec": spec,
    })
}

fn volumes(session: &str, facts: &PodInputs<'_>) -> Vec<Value> {
    let mut volumes =
        vec![json!({ "name": "runner-token", "secret": { "secretName": token_secret(session) } })];
    if facts.settings.workspace {
        volumes.insert(0, json!({ "name": WORKSPACE, "emptyDir": { "sizeLimit": "10Gi" } }));
    }
    if facts.trusted_ca {
        volumes.push(json!({ "name": TRUSTED_CA, "configMap": { "name": TRUSTED_CA } }));
    }
    volumes
}

/// The workspace is mounted twice in each container: as a whole, and one directory of it as the agent's own.
fn workspace_mounts(settings: &Settings) -> Vec<Value> {
    if !settings.workspace {
        return Vec::new();
    }
    vec![
        json!({ "name": WORKSPACE, "mountPath": WORKSPACE_MOUNT }),
        json!({ "name": WORKSPACE, "mountPath": "/app/.claude", "subPath": ".claude" }),
    ]
}

fn container_security(settings: &Settings) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": false,
        "capabilities": { "drop": ["ALL"] },
    });
    if let Some(user) = settings.user {
        context["runAsUser"] = json!(user);
    }
    context
}

fn hydrate(session: &Session, settings: &Settings) -> Value {
    json!({
        "name": HYDRATE_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/session-runner", "hydrate"],
        "securityContext": container_security(settings),
        "env": environment::hydrate(session, settings),
        "volumeMounts": workspace_mounts(settings),
    })
}

fn runner(session: &Session, facts: &PodInputs<'_>) -> Value {
    let mut mounts = workspace_mounts(facts.settings);
    mounts.push(json!({ "name": "runner-token", "mountPath": "/var/run/secrets/ambient", "readOnly": true }));
    if facts.trusted_ca {
        mounts.push(json!({
            "name": TRUSTED_CA, "mountPath": TRUSTED_CA_FILE, "subPath": TRUSTED_CA_KEY, "readOnly": true,
        }));
    }
    json!({
        "name": RUNNER_CONTAINER,
        "image": facts.settings.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": container_security(facts.settings),
        "ports": [{ "name": "agui", "containerPort": 8001, "protocol": "TCP" }],
        "env": environment::runner(session, facts.settings, facts.resume),
        "envFrom": [
            { "secretRef": { "name": "ambient-runner-secrets", "optional": true } },
            { "secretRef": { "name": "ambient-non-vertex-integrations", "optional": true } },
        ],
        "volumeMounts": mounts,
    })
}

fn state_sync(settings: &Settings) -> Value {
    json!({
        "name": "state-sync",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/session-runner", "state-sync"],
        "securityContext": container_security(settings),
        "volumeMounts": workspace_mounts(settings),
    })
}
