//! Names that appear in manifests, pods and sessions.

/// The init container that fetches the workflow.
pub const INIT_CONTAINER: &str = "init-workflow";
/// Start of the names of ephemeral containers that deliver into running sessions; see [`live_container`].
pub const LIVE_CONTAINER_PREFIX: &str = "deliver-workflow-";
/// The platform's own init container, which hydrates the workspace.
pub const HYDRATE_CONTAINER: &str = "init-hydrate";
/// The container that starts only after its workflow is on disk.
pub const RUNNER_CONTAINER: &str = "ambient-code-runner";

/// Pod annotation with the JSON of a [`crate::Stamp`].
pub const STAMP_ANNOTATION: &str = "workflow.ambient-code.io/injected";
/// Session annotation; with the value [`OPT_OUT`] the platform's own delivery is left alone.
pub const INJECT_ANNOTATION: &str = "workflow.ambient-code.io/inject";
/// The value of [`INJECT_ANNOTATION`] that opts a session out.
pub const OPT_OUT: &str = "false";
/// Session annotation of the platform; with the value `true` the next start executes the prompt.
pub const FORCE_PROMPT_ANNOTATION: &str = "ambient-code.io/force-execute-prompt";

/// Namespace, Deployment, Service, webhook configuration, Lease and ConfigMap.
pub const INJECTOR: &str = "workflow-injector";
/// Label selector of the injector's replicas and of all objects in its manifests.
pub const INJECTOR_SELECTOR: &str = "app.kubernetes.io/name=workflow-injector";
/// Optional Secret with git credentials in the session's namespace.
pub const CREDENTIALS_SECRET: &str = "workflow-credentials";
/// Start of every denial of ours, which distinguishes them from those of other webhooks.
pub const DENIAL_PREFIX: &str = "workflow-injector denies this pod: ";
/// Secret in the injector's own namespace with the CA and the serving certificate; created at run time.
pub const TLS_SECRET: &str = "workflow-injector-tls";
/// Mount path of the webhook's config file.
pub const CONFIG_FILE: &str = "/etc/workflow-injector/config.yaml";
/// Prefix of every metric.
pub const METRICS_PREFIX: &str = "workflow_injector";

/// API group of AgenticSession.
pub const SESSION_GROUP: &str = "vteam.ambient-code";
/// API version of AgenticSession.
pub const SESSION_VERSION: &str = "v1alpha1";
pub const SESSION_KIND: &str = "AgenticSession";
/// Plural (resource) name of sessions.
pub const SESSION_PLURAL: &str = "agenticsessions";
/// Label key of session pods, with the value [`APP_LABEL_VALUE`].
pub const APP_LABEL: &str = "app";
/// Value of [`APP_LABEL`] on session pods.
pub const APP_LABEL_VALUE: &str = "ambient-code-runner";
/// Label on session pods that holds the session's name.
pub const SESSION_LABEL: &str = "agentic-session";

/// Mount path of the shared volume in the runner.
pub const WORKSPACE_MOUNT: &str = "/workspace";
/// Directory from which the runner reads workflows.
pub const WORKFLOWS_ROOT: &str = "/workspace/workflows";
/// Prefix of the directories in [`WORKFLOWS_ROOT`] that a delivery is built in before it is published.
pub const STAGING_PREFIX: &str = ".init-workflow-";
/// Name of the emptyDir that is added to pods whose runner has no workspace volume.
pub const WORKFLOWS_VOLUME: &str = "workflows";

/// Returns the name of the ephemeral container that delivers the workflow of this generation of a session.
#[must_use]
pub fn live_container(generation: i64) -> String {
    format!("{LIVE_CONTAINER_PREFIX}{generation}")
}

/// Returns the name that the operator gives to the pod of a session.
#[must_use]
pub fn runner_pod(session: &str) -> String {
    format!("{session}-runner")
}
