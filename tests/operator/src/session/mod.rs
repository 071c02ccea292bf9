//! AgenticSessions: how tests write them, and how they are read.
//!
//! They are raw JSON below a typed `metadata`, never a typed struct: the operator's read, change and PUT must keep unknown
//! fields and conditions.

mod builder;
mod view;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use workflow_contract::names::{SESSION_GROUP, SESSION_KIND, SESSION_PLURAL, SESSION_VERSION};

pub use builder::SessionBuilder;
pub use view::summary;
pub use view::{Condition, Phase, ReconciledWorkflow, SessionView, Workflow};

/// An AgenticSession.
pub type Session = DynamicObject;

/// Annotation by which a user asks for a session to run or to stop.
pub const DESIRED_PHASE: &str = "ambient-code.io/desired-phase";
/// Annotation that makes the next start run the prompt even though it is a resume.
pub const FORCE_PROMPT: &str = "ambient-code.io/force-execute-prompt";

/// The resource, as clients name it.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(SESSION_GROUP, SESSION_VERSION, SESSION_KIND),
        SESSION_PLURAL,
    )
}

pub fn api(client: kube::Client, namespace: &str) -> Api<Session> {
    Api::namespaced_with(client, namespace, &resource())
}
