//! Decides about a pod: leave it unchanged, inject, or deny. Pure.
//!
//! ```text
//! pod ──owner──> session's name and uid ──(lookup, elsewhere)──> decide ──> Skip | Inject | Deny
//! ```
//!
//! The registration's selectors are not relied on. A denial may cost the user's prompt, so a pod is denied only if its
//! runner could otherwise start without its workflow. An invalid source is injected, too: the init container reports it on
//! the session.

use std::sync::Arc;

use serde_json::Value;
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, DENIAL_PREFIX, RUNNER_CONTAINER, SESSION_GROUP, SESSION_KIND, SESSION_LABEL,
};
use workflow_contract::{Policy, RefName, RepoPath, RepoUrl, Source, text as texts};

use super::json::{items, text};
use crate::session::{AgenticSession, is_object_name, never_ran};

/// The annotation by which the kubelet marks its mirror pods.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Reasons for which a pod is admitted unchanged.
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
    /// No container reads a workflow.
    #[error("no runner container")]
    NoRunner,
    /// The session is left to the platform's own delivery.
    #[error("session opted out")]
    OptedOut,
    /// The session has no workflow.
    #[error("session without a workflow")]
    NoWorkflow,
}

/// The session that controls a pod, according to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'p> {
    pub name: &'p str,
    pub uid: &'p str,
}

/// The result of a session's lookup.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The session; its uid is not compared yet.
    Found(Arc<AgenticSession>),
    Missing,
    /// It could not be read. The text is shown in the response and contains nothing of the session.
    Unavailable(String),
}

/// The denial of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// HTTP status for the response.
    pub code: u16,
    /// Message of the response. Contains nothing of a session that is not in the request.
    pub message: String,
    /// Reason for the log; more specific than the message.
    pub cause: &'static str,
}

/// The delivery to inject.
#[derive(Debug, Clone)]
pub struct Plan<'s> {
    pub session: &'s AgenticSession,
    pub session_uid: &'s str,
    /// Repository, byte for byte as in the spec, including userinfo.
    pub git_url: &'s str,
    /// Branch as in the spec, none where blank.
    pub branch: Option<&'s str>,
    /// Directory as in the spec, none where blank.
    pub path: Option<&'s str>,
    /// All three in the form in which sources are compared.
    pub source: Source,
    /// True if no runner of the session ever ran, although the operator may set `IS_RESUME`.
    pub first_run: bool,
}

/// The decision about a pod.
#[derive(Debug, Clone)]
pub enum Decision<'s> {
    /// Admit it unchanged.
    Skip(Skip),
    /// Add the init container.
    Inject(Plan<'s>),
    Deny(Denial),
}

/// Returns the session that controls a pod. The label's value is not used, because any pod may have it.
pub fn owner(pod: &Value) -> Result<Owner<'_>, Skip> {
    let metadata = &pod["metadata"];
    if !metadata["annotations"][MIRROR_ANNOTATION].is_null() {
        return Err(Skip::MirrorPod);
    }
    let labels = &metadata["labels"];
    if text(labels, APP_LABEL) != APP_LABEL_VALUE || labels[SESSION_LABEL].is_null() {
        return Err(Skip::NotLabelled);
    }
    let controller = items(&metadata["ownerReferences"])
        .iter()
        .find(|owner| owner["controller"] == true)
        .filter(|owner| {
            let (group, _version) = text(owner, "apiVersion").split_once('/').unwrap_or_default();
            group == SESSION_GROUP && text(owner, "kind") == SESSION_KIND
        })
        .ok_or(Skip::NotControlled)?;
    let mut containers = items(&pod["spec"]["containers"]).iter();
    if !containers.any(|container| text(container, "name") == RUNNER_CONTAINER) {
        return Err(Skip::NoRunner);
    }
    Ok(Owner { name: text(controller, "name"), uid: text(controller, "uid") })
}

/// Decides about a pod of that owner; `namespace` is the pod's.
#[must_use]
pub fn decide<'s>(owner: Owner<'_>, namespace: &str, lookup: &'s Lookup) -> Decision<'s> {
    let session = match lookup {
        Lookup::Found(session) => session,
        Lookup::Missing => return Decision::Deny(unproven(owner, namespace, "session missing")),
        Lookup::Unavailable(why) => return Decision::Deny(unavailable(owner, namespace, why)),
    };
    let session_uid = session.metadata.uid.as_deref().unwrap_or_default();
    if session_uid != owner.uid || session_uid.is_empty() {
        return Decision::Deny(unproven(owner, namespace, "session has another uid"));
    }
    if session.opted_out() {
        return Decision::Skip(Skip::OptedOut);
    }
    Plan::new(session).map_or(Decision::Skip(Skip::NoWorkflow), Decision::Inject)
}

impl<'s> Plan<'s> {
    /// The delivery of a session's workflow; none without one.
    #[must_use]
    pub fn new(session: &'s AgenticSession) -> Option<Self> {
        let workflow = session.workflow()?;
        let not_blank = |field: &'s Option<String>| field.as_deref().filter(|text| !text.trim().is_empty());
        Some(Self {
            session,
            session_uid: session.metadata.uid.as_deref().unwrap_or_default(),
            git_url: &workflow.git_url,
            branch: not_blank(&workflow.branch),
            path: not_blank(&workflow.path),
            source: workflow.source(),
            first_run: never_ran(session),
        })
    }

    /// Returns whether the session's author sets this variable, whose value must not control a fetch with
    /// credentials then.
    #[must_use]
    pub fn author_sets(&self, variable: &str) -> bool {
        self.session.spec.environment_variables.as_ref().is_some_and(|all| all.contains(variable))
    }

    /// Returns the reason if the init container is going to reject the source.
    #[must_use]
    pub fn source_error(&self, policy: &Policy) -> Option<String> {
        let checked = RepoUrl::parse(self.git_url)
            .map_err(|error| error.to_string())
            .and_then(|url| policy.check(&url).map_err(|error| error.to_string()))
            .and_then(|()| RefName::parse(self.branch.unwrap_or_default()).map_err(|error| error.to_string()))
            .and_then(|_| RepoPath::parse(self.path.unwrap_or_default()).map_err(|error| error.to_string()));
        checked
            .err()
            .map(|why| format!("the session's workflow cannot be fetched: {}", texts::one_line(&why)))
    }
}

/// Denies a pod whose session is missing, and one whose uid is not the session's, in the same words: the
/// uid is a capability, and the response must not reveal whether a session of that name exists.
fn unproven(owner: Owner<'_>, namespace: &str, cause: &'static str) -> Denial {
    let session = shown(owner, namespace);
    let message = format!(
        "no AgenticSession {session} with the uid in the pod's ownerReference exists; \
         create the pod from the session as it is now, or create the session again"
    );
    denial(403, &message, cause)
}

fn unavailable(owner: Owner<'_>, namespace: &str, why: &str) -> Denial {
    let (session, why) = (shown(owner, namespace), texts::sanitize(why));
    let message = format!(
        "its AgenticSession {session} cannot be read now, so its workflow is not known ({why}); \
         create the pod again, and run `workflow-injector check` if this stays"
    );
    denial(503, &message, "session not readable")
}

fn shown(owner: Owner<'_>, namespace: &str) -> String {
    let known = if is_object_name(owner.name) { "" } else { " (no valid name)" };
    format!("`{}/{}`{known}", texts::sanitize(namespace), texts::sanitize(owner.name))
}

fn denial(code: u16, message: &str, cause: &'static str) -> Denial {
    Denial { code, message: format!("{DENIAL_PREFIX}{message}"), cause }
}
