//! Type, reasons and Events of the condition that tells a person what became of the workflow.
//!
//! The reasons that come from an exit code are in [`crate::Exit`]; here are those that only the
//! status controller can know.

/// The condition on the session.
pub const WORKFLOW_RECONCILED: &str = "WorkflowReconciled";

/// Reasons that no exit code stands for.
pub mod reason {
    /// The session asks for no workflow (any more).
    pub const NOT_CONFIGURED: &str = "NotConfigured";
    /// The init container is waiting or running.
    pub const FETCHING: &str = "Fetching";
    /// The init container was OOM-killed.
    pub const OUT_OF_MEMORY: &str = "OutOfMemory";
    /// The init container's image can't be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// The init container could not be created or started.
    pub const CONTAINER_FAILED: &str = "ContainerFailed";
    /// An exit code that is none of ours.
    pub const FETCH_FAILED: &str = "FetchFailed";
    /// The pod ended before the init container did.
    pub const INTERRUPTED: &str = "Interrupted";
    /// A session pod without our init container, though a workflow is asked for.
    pub const NOT_INJECTED: &str = "NotInjected";
    /// The session's workflow was changed after it was injected.
    pub const RESTART_REQUIRED: &str = "RestartRequired";
    /// The pod is gone and nobody saw its init container end.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
}

/// Reasons of the Events on the session.
pub mod event {
    /// The workflow is on disk.
    pub const DELIVERED: &str = "WorkflowDelivered";
    /// It could not be delivered.
    pub const FAILED: &str = "WorkflowFailed";
    /// The pod came without the init container.
    pub const NOT_INJECTED: &str = "WorkflowNotInjected";
    /// The session must be restarted to get the workflow that it asks for now.
    pub const RESTART_REQUIRED: &str = "WorkflowRestartRequired";
}
