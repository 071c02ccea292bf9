//! The environment of a session's containers: pure, in the platform's order, the user's own variables last.

use kube::ResourceExt;
use serde_json::{Value, json};
use workflow_contract::env::{
    ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_PATH, BACKEND_API_URL, BOT_TOKEN,
    IS_RESUME, PROJECT_NAME, SESSION_NAME,
};

use crate::session::{Session, SessionView};

use super::Settings;
use super::objects::token_secret;

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

/// There exactly when the session has a workflow; the path only when it is not empty.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionBuilder;

    const URL: &str = "https://h/r.git";

    fn names(variables: &[Value]) -> Vec<&str> {
        variables.iter().filter_map(|variable| variable["name"].as_str()).collect()
    }

    fn runner_of(session: SessionBuilder, resume: bool) -> Vec<Value> {
        runner(&session.build(), &Settings::new("i"), resume)
    }

    #[test]
    fn workflow_variables_are_there_exactly_when_there_is_a_workflow() {
        let session = || SessionBuilder::new("s");
        let none = runner_of(session(), false);
        assert!(!names(&none).iter().any(|name| name.starts_with("ACTIVE_WORKFLOW")));
        let blank = runner_of(session().workflow("", "main"), false);
        assert!(!names(&blank).iter().any(|name| name.starts_with("ACTIVE_WORKFLOW")));
        let whole = runner_of(session().workflow(URL, ""), false);
        assert!(whole.contains(&plain("ACTIVE_WORKFLOW_BRANCH", "main")));
        assert!(!names(&whole).contains(&"ACTIVE_WORKFLOW_PATH"));
        let directory = runner_of(session().workflow_path(URL, "dev", "a"), false);
        assert!(directory.contains(&plain("ACTIVE_WORKFLOW_PATH", "a")));
    }

    #[test]
    fn the_users_variables_come_last_and_may_repeat_the_platforms() {
        let session =
            SessionBuilder::new("s").workflow(URL, "dev").variable("ACTIVE_WORKFLOW_GIT_URL", "theirs");
        for variables in [runner_of(session.clone(), false), hydrate(&session.build(), &Settings::new("i"))] {
            assert!(variables.contains(&plain("ACTIVE_WORKFLOW_GIT_URL", URL)));
            assert_eq!(variables.last(), Some(&plain("ACTIVE_WORKFLOW_GIT_URL", "theirs")));
        }
    }

    #[test]
    fn a_resume_is_told_to_the_runner_only() {
        let session = SessionBuilder::new("s");
        assert!(!names(&runner_of(session.clone(), false)).contains(&IS_RESUME));
        assert!(runner_of(session.clone(), true).contains(&plain(IS_RESUME, "true")));
        assert!(!names(&hydrate(&session.build(), &Settings::new("i"))).contains(&IS_RESUME));
    }
}
