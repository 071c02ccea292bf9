//! Objects in, conclusion out: is the workflow delivered, and what is to be done?

use jiff::Timestamp;
use workflow_contract::Exit;
use workflow_contract::condition::{WORKFLOW_RECONCILED, reason};
use workflow_contract::names::{CREDENTIALS_SECRET, INJECT_ANNOTATION, OPT_OUT};

use super::objects::{Gathered, Registration};
use crate::session::{AgenticSession, Condition};
use crate::status::condition::{Action, CurrentStatus, decide};
use crate::status::live::LiveDelivery;
use crate::status::outcome::PodFacts;

const NOTHING: &str = "nothing needs to be done";

/// The last lines of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Delivered, or nothing is to be delivered.
    pub settled: bool,
    pub result: String,
    /// The remedy, or the state if there is nothing to do.
    pub to_do: String,
    /// The condition that the status controller has yet to write.
    pub pending: Option<Condition>,
}

/// Writer of a condition of type `WorkflowReconciled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    Injector,
    Platform,
    /// Both write this condition.
    Either,
}

impl Gathered {
    /// The session's own pod.
    pub fn own_pod(&self) -> Option<&PodFacts> {
        let uid = self.session.metadata.uid.as_deref();
        let facts = self.pod.as_ref()?.facts.as_ref()?;
        uid.is_none_or(|uid| facts.session_uid == uid).then_some(facts)
    }

    fn registered(&self) -> Option<Timestamp> {
        match self.registration {
            Registration::Unknown => Some(Timestamp::MIN),
            Registration::Absent => None,
            Registration::Since(time) => Some(time),
        }
    }
}

/// Returns the writer of the session's condition, by its reason and the record; messages are not read.
pub fn author(session: &AgenticSession) -> Option<Author> {
    session.condition(WORKFLOW_RECONCILED)?;
    Some(match current(session)?.own_reason() {
        Some(reason::NOT_CONFIGURED) => Author::Either,
        Some(_) => Author::Injector,
        None => Author::Platform,
    })
}

fn current(session: &AgenticSession) -> Option<CurrentStatus<'_>> {
    let status = session.status.as_ref()?;
    let start = status.start_time.unwrap_or(Timestamp::MIN);
    Some(CurrentStatus { condition: session.condition(WORKFLOW_RECONCILED), status, start })
}

pub fn conclude(found: &Gathered, now: Timestamp) -> Conclusion {
    let session = &found.session;
    if session.opted_out() {
        return settled(
            format!("the session is left to the platform's own delivery ({INJECT_ANNOTATION}={OPT_OUT})"),
            "nothing needs to be done, unless the injector is to deliver it: then remove the annotation and restart the session",
        );
    }
    if session.workflow().is_none() {
        return settled("the session asks for no workflow".to_owned(), NOTHING);
    }
    let pod = found.own_pod();
    // The configuration may not be readable here, but its effects are in the pod.
    let is_live = pod.is_some_and(|pod| !pod.live.is_empty());
    let mode = if is_live { LiveDelivery::On } else { LiveDelivery::Off };
    if let Some(Action::Write(change)) = decide(session, pod, found.registered(), &mode, now) {
        return Conclusion {
            pending: Some(change.condition.clone()),
            ..by_condition(&change.condition, session)
        };
    }
    match session.condition(WORKFLOW_RECONCILED) {
        Some(condition) if stands(session, pod) => by_condition(condition, session),
        _ => without_condition(found),
    }
}

/// Reports whether the session's condition is the injector's, about its present run.
fn stands(session: &AgenticSession, pod: Option<&PodFacts>) -> bool {
    let Some(current) = current(session).filter(|current| current.own_reason().is_some()) else {
        return false;
    };
    let since = current.condition.and_then(|condition| condition.last_transition_time);
    let is_of_run = current.record().is_some() || since.is_some_and(|since| since >= current.start);
    !is_waiting_for_pod(session) && (pod.is_some() || is_of_run)
}

fn phase(session: &AgenticSession) -> &str {
    session.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Reports whether the platform has yet to create the pod of the run.
fn is_waiting_for_pod(session: &AgenticSession) -> bool {
    matches!(phase(session), "" | "Pending")
}

/// The conclusion where the injector has no condition to write: the platform has not got to it, or the run began before
/// the registration.
fn without_condition(found: &Gathered) -> Conclusion {
    let session = &found.session;
    let denied = session.condition("PodCreated").filter(|created| created.status == "False");
    let pod = found.own_pod();
    let open = |result: &str, to_do: String| Conclusion {
        settled: false,
        result: result.to_owned(),
        to_do,
        pending: None,
    };
    if session.metadata.deletion_timestamp.is_some() {
        return open(
            "the session is being deleted",
            "create the session again if it is still needed".to_owned(),
        );
    }
    if denied.is_some() && pod.is_none() {
        return open(
            "the session's pod could not be created",
            "correct what the message of PodCreated names (if it is about workflow-injector, an admin runs \
             `workflow-injector check`): the platform tries again by itself unless the session is stopped"
                .to_owned(),
        );
    }
    if session.status.as_ref().is_none_or(|status| status.start_time.is_none()) {
        return open(
            "the platform's operator has not begun to run the session",
            "wait some seconds, then ask an admin to look at the operator's log".to_owned(),
        );
    }
    let install = |to_do: &str| format!("{to_do}{}", restart(session));
    match found.registration {
        Registration::Absent => {
            return open(
                "workflow-injector is not registered, so nothing is delivered",
                install("ask an admin to install it, then "),
            );
        }
        Registration::Since(time) if !is_waiting_for_pod(session) && began_before(session, pod, time) => {
            return open("the run began before workflow-injector was registered", restart(session));
        }
        Registration::Since(_) | Registration::Unknown => {}
    }
    if pod.is_none() {
        let to_do = "wait until the platform has created the session's pod; if it does not, ask an admin to look at \
                     the operator's log";
        return open("the session has no pod now", to_do.to_owned());
    }
    open("the outcome is not reported yet", "wait some seconds and run this again".to_owned())
}

fn began_before(session: &AgenticSession, pod: Option<&PodFacts>, registered: Timestamp) -> bool {
    let start = session.status.as_ref().and_then(|status| status.start_time);
    let began = [start, pod.map(|pod| pod.created)].into_iter().flatten().min();
    began.is_some_and(|began| began <= registered) && pod.is_none_or(|pod| pod.stamp.is_none())
}

fn by_condition(condition: &Condition, session: &AgenticSession) -> Conclusion {
    let reason = condition.reason.as_deref().unwrap_or_default();
    let delivered = reason == Exit::Reconciled.reason();
    let result = match (delivered, reason) {
        (true, _) => "the workflow is delivered".to_owned(),
        (_, reason::FETCHING) => "the workflow is being delivered".to_owned(),
        _ => format!("the workflow is not delivered: {reason}"),
    };
    let to_do = match cause(reason) {
        _ if delivered => NOTHING.to_owned(),
        Cause::Wait(to_do) => to_do.to_owned(),
        Cause::Correct(to_do) => format!("{to_do}, then {}", restart(session)),
        Cause::Restart => restart(session),
    };
    Conclusion { settled: delivered, result, to_do, pending: None }
}

enum Cause {
    /// The pod goes on by itself.
    Wait(&'static str),
    /// Something is to be corrected before the next start.
    Correct(String),
    Restart,
}

fn cause(reason: &str) -> Cause {
    let text = match reason {
        reason::FETCHING => {
            return Cause::Wait("wait until the init containers have ended, and run this again");
        }
        reason::OUTCOME_UNKNOWN | reason::RESTART_REQUIRED | reason::INTERRUPTED => return Cause::Restart,
        reason::NOT_INJECTED => "ask an admin to run `workflow-injector check`",
        reason::OUT_OF_MEMORY => {
            "ask an admin to raise `resources` in config.yaml, or name a smaller repository or directory"
        }
        reason::IMAGE_PULL_FAILED => {
            "ask an admin to correct `image` or `imagePullSecrets` in config.yaml, or the nodes' access to the registry"
        }
        reason::CONTAINER_FAILED => "correct what the Events of the pod name",
        reason::FETCH_FAILED => "report this output and the log of init-workflow to the admin",
        other => return Cause::Correct(exit_cause(other)),
    };
    Cause::Correct(text.to_owned())
}

fn exit_cause(reason: &str) -> String {
    let text = match Exit::from_reason(reason) {
        Some(Exit::InvalidSource) => "correct spec.activeWorkflow as the message says",
        Some(Exit::HostNotAllowed) => {
            "name a repository on an allowed host and scheme, or ask an admin to extend `allowedHosts` or `allowedSchemes`"
        }
        Some(Exit::AuthenticationFailed) => {
            return format!(
                "provide a valid credential for that host, in the Secret {CREDENTIALS_SECRET} or as a token"
            );
        }
        Some(Exit::RepositoryNotFound) => {
            "correct spec.activeWorkflow.gitUrl, or the credential's access to it"
        }
        Some(Exit::RefNotFound) => "correct spec.activeWorkflow.branch",
        Some(Exit::PathNotFound) => "correct spec.activeWorkflow.path",
        Some(Exit::ServerUnreachable) => {
            "check that the git server is up and that name resolution, network policies and proxies permit the connection"
        }
        Some(Exit::TlsFailed) => "have the server's CA certificate provided, or its certificate renewed",
        Some(Exit::HostKeyMismatch) => {
            return format!(
                "compare the key in the message with the one that the host publishes and correct known_hosts in the \
                 Secret {CREDENTIALS_SECRET}"
            );
        }
        Some(Exit::ServerError) => "check the URL and the state of the git server",
        Some(Exit::Timeout) => "find out why the git server is slow, or ask an admin to raise `timeout`",
        Some(Exit::TooLarge) => {
            "name a directory of the repository, or ask an admin to raise `maxBytes` and `maxFiles`"
        }
        Some(Exit::UnsafeContent) => "remove from the repository what the message names",
        Some(Exit::SignatureNotTrusted) => {
            "have the commit or tag signed with a trusted key, or ask an admin to list the key under `verify`"
        }
        Some(Exit::VolumeFull) => "free space on the workspace's volume",
        Some(Exit::VolumeNotWritable) => {
            "correct the security context of the pod or the directory that the message names"
        }
        Some(Exit::InternalError) => "report this output and the log of init-workflow: it is a bug",
        _ => "correct the cause that the message names",
    };
    text.to_owned()
}

/// Returns the steps that run the session again: the platform ignores a stop of a session that is over, and needs one
/// otherwise.
fn restart(session: &AgenticSession) -> String {
    let namespace = session.metadata.namespace.as_deref().unwrap_or_default();
    let name = session.metadata.name.as_deref().unwrap_or_default();
    let command = format!(
        "kubectl -n {namespace} annotate --overwrite agenticsession {name} ambient-code.io/desired-phase"
    );
    if matches!(phase(session), "Creating" | "Running" | "Stopping") {
        format!("stop the session, then start it again ({command}=Stopped, then =Running)")
    } else {
        format!("start the session again ({command}=Running)")
    }
}

fn settled(result: String, to_do: &str) -> Conclusion {
    Conclusion { settled: true, result, to_do: to_do.to_owned(), pending: None }
}
