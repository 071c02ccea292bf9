//! Type, reasons and Event reasons of the condition that reports the delivery of a workflow.
//!
//! Reasons that stand for an exit code of init-fetcher are in [`crate::Exit`].

/// Type of the condition on the session.
pub const WORKFLOW_RECONCILED: &str = "WorkflowReconciled";

/// Reasons without an exit code.
pub mod reason {
    /// The session has no workflow.
    pub const NOT_CONFIGURED: &str = "NotConfigured";
    /// The init container is waiting or running.
    pub const FETCHING: &str = "Fetching";
    /// The init container was OOM-killed.
    pub const OUT_OF_MEMORY: &str = "OutOfMemory";
    /// The init container's image can't be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// The init container could not be created or started.
    pub const CONTAINER_FAILED: &str = "ContainerFailed";
    /// The init container exited with a code that init-fetcher does not use.
    pub const FETCH_FAILED: &str = "FetchFailed";
    /// The pod ended before the init container did.
    pub const INTERRUPTED: &str = "Interrupted";
    /// The pod has no init container although its session had a workflow when it was created.
    pub const NOT_INJECTED: &str = "NotInjected";
    /// The session's workflow was changed, or first set, after the pod was created.
    pub const RESTART_REQUIRED: &str = "RestartRequired";
    /// The pod is gone and the end of its init container was not observed.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";

    pub const ALL: [&str; 10] = [
        NOT_CONFIGURED,
        FETCHING,
        OUT_OF_MEMORY,
        IMAGE_PULL_FAILED,
        CONTAINER_FAILED,
        FETCH_FAILED,
        INTERRUPTED,
        NOT_INJECTED,
        RESTART_REQUIRED,
        OUTCOME_UNKNOWN,
    ];
}

/// Reasons of the Events on the session.
pub mod event {
    /// The workflow was delivered.
    pub const DELIVERED: &str = "WorkflowDelivered";
    /// The workflow could not be delivered.
    pub const FAILED: &str = "WorkflowFailed";
    /// The pod was created without the init container.
    pub const NOT_INJECTED: &str = "WorkflowNotInjected";
    /// The session must be restarted to get its workflow.
    pub const RESTART_REQUIRED: &str = "WorkflowRestartRequired";
    /// The next start of the session will skip its initial prompt.
    pub const PROMPT_SKIPPED: &str = "InitialPromptSkipped";
}
