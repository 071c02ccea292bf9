//! Type, reasons and Events of the condition on the session.
//!
//! Reasons that correspond to exit codes are in [`crate::Exit`]; those that the status controller derives are here.

/// The condition on the session.
pub const WORKFLOW_RECONCILED: &str = "WorkflowReconciled";

/// Reasons without an exit code.
pub mod reason {
    /// The session no longer requests a workflow.
    pub const NOT_CONFIGURED: &str = "NotConfigured";
    /// The init container is waiting or running.
    pub const FETCHING: &str = "Fetching";
    /// The init container was OOM-killed.
    pub const OUT_OF_MEMORY: &str = "OutOfMemory";
    /// The init container's image cannot be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// The init container could not be created or started.
    pub const CONTAINER_FAILED: &str = "ContainerFailed";
    /// The init container ended with an exit code that is not in [`crate::Exit`].
    pub const FETCH_FAILED: &str = "FetchFailed";
    /// The pod ended before the init container did.
    pub const INTERRUPTED: &str = "Interrupted";
    /// The pod has no init container of ours although the session requested a workflow when it was created.
    pub const NOT_INJECTED: &str = "NotInjected";
    /// The session's workflow was changed after it was injected.
    pub const RESTART_REQUIRED: &str = "RestartRequired";
    /// The pod is gone and the end of its init container was not observed.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
}

/// Reasons of the Events on the session.
pub mod event {
    /// The workflow is on disk.
    pub const DELIVERED: &str = "WorkflowDelivered";
    /// The delivery failed.
    pub const FAILED: &str = "WorkflowFailed";
    /// The pod was created without the init container.
    pub const NOT_INJECTED: &str = "WorkflowNotInjected";
    /// The session must be restarted to get the workflow that it requests now.
    pub const RESTART_REQUIRED: &str = "WorkflowRestartRequired";
}
