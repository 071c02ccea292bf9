//! The objects around a session's pod: pure.

use serde_json::{Value, json};
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, SESSION_GROUP, SESSION_KIND, SESSION_LABEL, SESSION_VERSION,
};

/// Name of the Secret with a session's tokens.
pub(crate) fn token_secret(session: &str) -> String {
    format!("ambient-runner-token-{session}")
}

/// Name of the Service in front of a session's runner.
pub(crate) fn service_name(session: &str) -> String {
    format!("session-{session}")
}

/// The ownerReference to a session of its Secret and pod.
pub(crate) fn session_owner(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": format!("{SESSION_GROUP}/{SESSION_VERSION}"),
        "kind": SESSION_KIND,
        "name": name,
        "uid": uid,
        "controller": true,
    })
}

/// The Secret with the session's tokens. They give access to nothing: there is no backend.
pub(crate) fn secret(session: &str, uid: &str, tokens: [&str; 2]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": token_secret(session), "ownerReferences": [session_owner(session, uid)] },
        "stringData": { "k8s-token": tokens[0], "agui-token": tokens[1] },
    })
}

/// The Service in front of the runner, owned by its pod.
pub(crate) fn service(session: &str, pod: &str, pod_uid: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(session),
            "labels": { APP_LABEL: APP_LABEL_VALUE, SESSION_LABEL: session },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid, "controller": true },
            ],
        },
        "spec": {
            "selector": { APP_LABEL: APP_LABEL_VALUE, SESSION_LABEL: session },
            "ports": [{ "name": "agui", "port": 8001, "targetPort": 8001 }],
        },
    })
}

/// The LimitRange that the operator puts into every namespace it manages: it fills the resources of containers that
/// have none, which makes the API server call pod webhooks a second time.
pub fn limit_range() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": { "name": "ambient-default-limits" },
        "spec": {
            "limits": [{
                "type": "Container",
                "default": { "cpu": "2", "memory": "4Gi" },
                "defaultRequest": { "cpu": "250m", "memory": "256Mi" },
            }],
        },
    })
}
