//! The environment of a session's containers: pure, in the platform's order, the user's own variables last.

use kube::ResourceExt;
use serde_json::{Value, json};
use workflow_contract::env::{
    ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_PATH, BACKEND_API_URL, BOT_TOKEN,
    IS_RESUME, PROJECT_NAME, SESSION_NAME,
};

use crate::session::{Session, SessionView};

use crate::objects::token_secret;
use crate::settings::Settings;

/// The variables of `init-hydrate`.
pub(crate) fn hydrate(session: &Session, settings: &Settings) -> Vec<Value> {
    let (name, namespace) = (session.name_any(), session.namespace().unwrap_or_default());
    let mut variables = vec![
        plain(SESSION_NAME, &name),
        plain("NAMESPACE", &namespace),
        plain("S3_ENDPOINT", ""),
        plain("S3_BUCKET", ""),
        optional("AWS_ACCESS_KEY_ID", "ambient-s3", "accessKey"),
        optional("AWS_SECRET_ACCESS_KEY", "ambient-s3", "secretKey"),
        plain(BACKEND_API_URL, &settings.backend_api_url),
        plain(PROJECT_NAME, &namespace),
        plain("REPOS_JSON", &repos(session)),
    ];
    variables.extend(workflow(session));
    variables.push(from_secret(BOT_TOKEN, &token_secret(&name), "k8s-token"));
    variables.extend(users_own(session));
    variables
}

/// The variables of the runner. `resume` is set on every run but the first.
pub(crate) fn runner(session: &Session, settings: &Settings, resume: bool) -> Vec<Value> {
    let (name, namespace) = (session.name_any(), session.namespace().unwrap_or_default());
    let mut variables = vec![
        plain("AGENTIC_SESSION_NAME", &name),
        plain("AGENTIC_SESSION_NAMESPACE", &namespace),
        plain("SESSION_ID", &name),
        plain("WORKSPACE_PATH", "/workspace"),
        plain("ARTIFACTS_DIR", "artifacts"),
        plain("AGUI_PORT", "8001"),
        plain("INTERACTIVE", "true"),
        plain("DEBUG", "true"),
        plain(PROJECT_NAME, &namespace),
        plain(BACKEND_API_URL, &settings.backend_api_url),
        plain("REPOS_JSON", &repos(session)),
        plain("INITIAL_PROMPT", session.data["spec"]["initialPrompt"].as_str().unwrap_or_default()),
        plain("USE_VERTEX", "0"),
        from_secret("AGUI_TOKEN", &token_secret(&name), "agui-token"),
        optional("ANTHROPIC_API_KEY", "ambient-runner-secrets", "ANTHROPIC_API_KEY"),
        optional("LANGFUSE_HOST", "ambient-admin-langfuse-secret", "LANGFUSE_HOST"),
        optional("LANGFUSE_PUBLIC_KEY", "ambient-admin-langfuse-secret", "LANGFUSE_PUBLIC_KEY"),
        optional("LANGFUSE_SECRET_KEY", "ambient-admin-langfuse-secret", "LANGFUSE_SECRET_KEY"),
        json!({
            "name": "POD_IP",
            "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "status.podIP" } },
        }),
    ];
    if resume {
        variables.push(plain(IS_RESUME, "true"));
    }
    variables.extend(workflow(session));
    variables.extend(users_own(session));
    variables
}

/// Present exactly when the session has a workflow; the path only when it is not empty.
fn workflow(session: &Session) -> Vec<Value> {
    let Some(workflow) = session.workflow() else { return Vec::new() };
    let mut variables = vec![
        plain(ACTIVE_WORKFLOW_GIT_URL, &workflow.git_url),
        plain(ACTIVE_WORKFLOW_BRANCH, workflow.branch()),
    ];
    if !workflow.path.is_empty() {
        variables.push(plain(ACTIVE_WORKFLOW_PATH, &workflow.path));
    }
    variables
}

fn users_own(session: &Session) -> Vec<Value> {
    let variables = session.data["spec"]["environmentVariables"].as_object();
    variables
        .into_iter()
        .flatten()
        .map(|(name, value)| plain(name, value.as_str().unwrap_or_default()))
        .collect()
}

fn repos(session: &Session) -> String {
    match &session.data["spec"]["repos"] {
        Value::Null => "[]".to_owned(),
        repos => repos.to_string(),
    }
}

fn plain(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn from_secret(name: &str, secret: &str, key: &str) -> Value {
    json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } })
}

fn optional(name: &str, secret: &str, key: &str) -> Value {
    json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key, "optional": true } } })
}
