//! What to do with a pod: leave it, inject, or refuse. Pure.
//!
//! ```text
//! pod ──owner──> session's name and uid ──(look-up, elsewhere)──> decide ──> Skip | Inject | Refuse
//! ```
//!
//! The registration's selectors are not relied on: whatever is no session pod is left alone here
//! too. A refusal costs a user the prompt, so there are only those that promise 1 ("a runner never
//! starts without its workflow") leaves no way around. A source that can't be valid is injected all
//! the same: the init container says what is wrong with it, where its user looks.

use std::sync::Arc;

use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, SESSION_LABEL,
};
use workflow_contract::{Policy, RefName, RepoPath, RepoUrl, Source, text};

use crate::session::{AgenticSession, is_object_name, never_ran};
use json_index::Json;

/// How every refusal begins.
pub const REFUSES: &str = workflow_contract::names::DENIAL_PREFIX;

/// The annotation by which the kubelet marks its mirror pods.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Why a pod is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// Another operation, kind or subresource.
    #[error("not the creation of a pod")]
    NotAPodCreation,
    /// The kubelet's copy of a static pod.
    #[error("mirror pod")]
    MirrorPod,
    /// The labels of session pods are missing.
    #[error("not labelled as a session pod")]
    NotLabelled,
    /// No AgenticSession controls it, whatever its labels say.
    #[error("not controlled by an AgenticSession")]
    NotControlled,
    /// Nothing in it reads a workflow.
    #[error("no runner container")]
    NoRunner,
    /// The session is left to the platform's own delivery.
    #[error("session opted out")]
    OptedOut,
    /// The session asks for no workflow.
    #[error("session without a workflow")]
    NoWorkflow,
}

/// The session that controls a pod, as the pod says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'p> {
    /// Name of the session.
    pub name: &'p str,
    /// Uid of the session.
    pub uid: &'p str,
}

/// What became of the look-up of a session.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The session; its uid is not compared yet.
    Found(Arc<AgenticSession>),
    /// There is none of that name.
    Missing,
    /// It could not be read. The text is shown in the response and contains nothing of the session.
    Unavailable(String),
}

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status for the response.
    pub code: u16,
    /// What failed, on what, what to do. Contains nothing of a session that is not in the request.
    pub message: String,
    /// Reason for the log, which may distinguish what the message does not.
    pub cause: &'static str,
}

/// What is to be injected.
#[derive(Debug, Clone)]
pub struct Plan<'s> {
    /// The session.
    pub session: &'s AgenticSession,
    /// Uid of the session.
    pub session_uid: &'s str,
    /// Repository, byte for byte as in the spec, userinfo included.
    pub git_url: &'s str,
    /// Branch as in the spec, none where blank.
    pub branch: Option<&'s str>,
    /// Directory as in the spec, none where blank.
    pub path: Option<&'s str>,
    /// The same in the form in which it is compared.
    pub source: Source,
    /// Whether the run is to be the session's first, although the operator takes it for a later one.
    pub first_run: bool,
}

/// What to do with a pod.
#[derive(Debug, Clone)]
pub enum Decision<'s> {
    /// Leave it as it is.
    Skip(Skip),
    /// Add the init container.
    Inject(Plan<'s>),
    /// Deny it.
    Refuse(Refusal),
}

/// The session that a pod belongs to. The label's value is not looked at: anybody can write it.
///
/// # Errors
/// Why the pod is none of our business.
pub fn owner(pod: Json<'_>) -> Result<Owner<'_>, Skip> {
    let metadata = pod.get("metadata");
    if !metadata.get("annotations").get(MIRROR_ANNOTATION).is_null() {
        return Err(Skip::MirrorPod);
    }
    let labels = metadata.get("labels");
    if labels.text(APP_LABEL) != APP_LABEL_VALUE || labels.get(SESSION_LABEL).is_null() {
        return Err(Skip::NotLabelled);
    }
    let controller = metadata
        .get("ownerReferences")
        .items()
        .find(|owner| owner.get("controller").as_bool() == Some(true))
        .filter(|owner| {
            let (group, _version) = owner.text("apiVersion").split_once('/').unwrap_or_default();
            group == SESSION_GROUP && owner.text("kind") == SESSION_KIND
        })
        .ok_or(Skip::NotControlled)?;
    let mut containers = pod.get("spec").get("containers").items();
    if !containers.any(|container| container.text("name") == RUNNER_CONTAINER) {
        return Err(Skip::NoRunner);
    }
    Ok(Owner { name: controller.text("name"), uid: controller.text("uid") })
}

/// What to do with a pod of that owner, `namespace` being the pod's.
#[must_use]
pub fn decide<'s>(owner: Owner<'_>, namespace: &str, lookup: &'s Lookup) -> Decision<'s> {
    let session = match lookup {
        Lookup::Found(session) => session,
        Lookup::Missing => return Decision::Refuse(unproven(owner, namespace, "session missing")),
        Lookup::Unavailable(why) => return Decision::Refuse(unavailable(owner, namespace, why)),
    };
    let session_uid = session.metadata.uid.as_deref().unwrap_or_default();
    if session_uid != owner.uid || session_uid.is_empty() {
        return Decision::Refuse(unproven(owner, namespace, "session has another uid"));
    }
    if session.opted_out() {
        return Decision::Skip(Skip::OptedOut);
    }
    let Some(workflow) = session.workflow() else { return Decision::Skip(Skip::NoWorkflow) };
    let not_blank = |field: &'s Option<String>| field.as_deref().filter(|text| !text.trim().is_empty());
    Decision::Inject(Plan {
        session,
        session_uid,
        git_url: &workflow.git_url,
        branch: not_blank(&workflow.branch),
        path: not_blank(&workflow.path),
        source: workflow.source(),
        first_run: never_ran(session),
    })
}

impl Plan<'_> {
    /// Whether the session's author sets this variable: then the pod's value is not to be trusted
    /// where it would steer a fetch with credentials.
    #[must_use]
    pub fn author_sets(&self, variable: &str) -> bool {
        self.session.spec.environment_variables.as_ref().is_some_and(|all| all.contains(variable))
    }

    /// Why the init container is going to refuse the source, if that is known already.
    #[must_use]
    pub fn trouble(&self, policy: &Policy) -> Option<String> {
        let checked = RepoUrl::parse(self.git_url)
            .map_err(|error| error.to_string())
            .and_then(|url| policy.check(&url).map_err(|error| error.to_string()))
            .and_then(|()| RefName::parse(self.branch.unwrap_or_default()).map_err(|error| error.to_string()))
            .and_then(|_| RepoPath::parse(self.path.unwrap_or_default()).map_err(|error| error.to_string()));
        checked.err().map(|why| format!("the session's workflow can't be fetched: {}", text::one_line(&why)))
    }
}

/// Denies a pod whose session is missing, and one whose uid is not the session's, in the same words: the
/// uid is a capability, and the response must not reveal whether a session of that name exists.
fn unproven(owner: Owner<'_>, namespace: &str, cause: &'static str) -> Refusal {
    let session = shown(owner, namespace);
    let message = format!(
        "no AgenticSession {session} with the uid in the pod's ownerReference exists; \
         create the pod from the session as it is now, or create the session again"
    );
    refusal(403, &message, cause)
}

fn unavailable(owner: Owner<'_>, namespace: &str, why: &str) -> Refusal {
    let (session, why) = (shown(owner, namespace), text::sanitize(why));
    let message = format!(
        "its AgenticSession {session} can't be read now, so its workflow is not known ({why}); \
         create the pod again, and run `workflow-injector check` if this stays"
    );
    refusal(503, &message, "session not readable")
}

fn shown(owner: Owner<'_>, namespace: &str) -> String {
    let known = if is_object_name(owner.name) { "" } else { " (no valid name)" };
    format!("`{}/{}`{known}", text::sanitize(namespace), text::sanitize(owner.name))
}

fn refusal(code: u16, message: &str, cause: &'static str) -> Refusal {
    Refusal { code, message: format!("{REFUSES}{message}"), cause }
}
