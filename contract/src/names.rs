//! Names that appear in manifests, pods and sessions.

/// The init container that fetches the workflow.
pub const INIT_CONTAINER: &str = "init-workflow";
/// The platform's own init container, which hydrates the workspace.
pub const HYDRATE_CONTAINER: &str = "init-hydrate";
/// The container that must not start before its workflow is on disk.
pub const RUNNER_CONTAINER: &str = "ambient-code-runner";

/// Pod annotation: JSON of what was injected, see [`crate::Stamp`].
pub const STAMP_ANNOTATION: &str = "workflow.ambient-code.io/injected";
/// Session annotation; the value [`OPT_OUT`] leaves the session to the platform's own delivery.
pub const INJECT_ANNOTATION: &str = "workflow.ambient-code.io/inject";
/// The value of [`INJECT_ANNOTATION`] that opts a session out.
pub const OPT_OUT: &str = "false";

/// Namespace, Deployment, Service, webhook configuration, Lease and ConfigMap.
pub const INJECTOR: &str = "workflow-injector";
/// Label selector of what belongs to the injector: its replicas, and all else that its manifests make.
pub const INJECTOR_SELECTOR: &str = "app.kubernetes.io/name=workflow-injector";
/// Optional Secret with git credentials in the session's namespace.
pub const CREDENTIALS_SECRET: &str = "workflow-credentials";
/// How every refusal of ours begins, so that one is told from any other webhook's.
pub const DENIAL_PREFIX: &str = "workflow-injector denies this pod: ";
/// Secret in the injector's own namespace with what it serves; made at run time.
pub const TLS_SECRET: &str = "workflow-injector-tls";
/// Where the webhook's config file is mounted.
pub const CONFIG_FILE: &str = "/etc/workflow-injector/config.yaml";
/// Prefix of every metric.
pub const METRICS_PREFIX: &str = "workflow_injector";

/// API group of AgenticSession.
pub const SESSION_GROUP: &str = "vteam.ambient-code";
/// API version of AgenticSession.
pub const SESSION_VERSION: &str = "v1alpha1";
/// Kind of a session.
pub const SESSION_KIND: &str = "AgenticSession";
/// Plural (resource) name of sessions.
pub const SESSION_PLURAL: &str = "agenticsessions";
/// Label key that every session pod carries, together with [`APP_LABEL_VALUE`].
pub const APP_LABEL: &str = "app";
/// Value of [`APP_LABEL`] on session pods.
pub const APP_LABEL_VALUE: &str = "ambient-code-runner";
/// Label on session pods that holds the session's name.
pub const SESSION_LABEL: &str = "agentic-session";

/// Mount path of the shared volume in the runner.
pub const WORKSPACE_MOUNT: &str = "/workspace";
/// Directory that the runner reads workflows from.
pub const WORKFLOWS_ROOT: &str = "/workspace/workflows";
/// Name of the emptyDir that is added where the runner has no workspace volume.
pub const WORKFLOWS_VOLUME: &str = "workflows";

/// The pod that speaks for a session: the operator names it so.
#[must_use]
pub fn runner_pod(session: &str) -> String {
    format!("{session}-runner")
}
