//! Carries out one step for one session.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use workflow_contract::names::runner_pod;

use crate::session::{self, DESIRED_PHASE, FORCE_PROMPT, Phase, Session, SessionView};

use crate::decide::{Desired, Step, decide};
use crate::error::{OperatorError, failed_to};
use crate::settings::{Mode, Settings};
use crate::status::StatusEditor;
use crate::{drift, objects, outcome};

/// When to reconcile a session again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something changes.
    Wait,
    /// When something changes, at the latest after this time.
    After(Duration),
    /// At once.
    Again,
}

/// Time between two POSTs of [`Mode::PostRunning`].
const RUNNING_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two POSTs of [`Mode::PostEarly`] to a running session.
const EARLY_INTERVAL: Duration = Duration::from_secs(30);

/// Reconciles the sessions of one namespace.
pub(crate) struct Reconciler {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) sessions: Api<Session>,
    pub(crate) pods: Api<Pod>,
    pub(crate) mode: Mode,
    pub(crate) settings: Settings,
}

impl Reconciler {
    pub(crate) fn new(client: Client, namespace: &str, mode: Mode, settings: Settings) -> Self {
        Self {
            sessions: session::api(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            client,
            mode,
            settings,
        }
    }

    /// Takes the session called `name` one step on.
    pub(crate) async fn reconcile(&self, name: &str) -> Result<Next, OperatorError> {
        let session = self.sessions.get_opt(name).await.map_err(failed_to("read the session"))?;
        let Some(session) = session.filter(|session| session.metadata.deletion_timestamp.is_none()) else {
            return Ok(Next::Wait);
        };
        let pod = self.pods.get_opt(&runner_pod(name)).await.map_err(failed_to("read the pod"))?;
        let desired = Desired::from_annotation(session.annotations().get(DESIRED_PHASE).map(String::as_str));
        let step = decide(session.phase(), desired, pod.as_ref().map(outcome::of));
        if step != Step::Wait {
            tracing::debug!(session = name, ?step, "reconciling");
        }
        match step {
            Step::Wait => Ok(Next::Wait),
            Step::Initialise => self.create(session, true).await,
            Step::Create => self.create(session, false).await,
            Step::Adopt => {
                let session = self.write(&session, |status| status.phase(Phase::Creating)).await?;
                self.clear_requests(&session).await?;
                Ok(Next::Again)
            }
            Step::BeginRun => {
                self.write(&session, |status| {
                    status.phase(Phase::Pending);
                    status.begin_run();
                    status.condition("Ready", false, "Restarting", "Waiting for a new pod");
                    status.existing_condition("RunnerStarted", false, "Restarting", "Waiting for a new pod");
                })
                .await?;
                Ok(Next::Again)
            }
            Step::MarkRunning => {
                self.write(&session, |status| {
                    status.phase(Phase::Running);
                    status.condition(
                        "RunnerStarted",
                        true,
                        "ContainerRunning",
                        "Runner container is running",
                    );
                    status.condition("Ready", true, "Running", "Session is running");
                })
                .await?;
                Ok(Next::Again)
            }
            Step::CheckWorkflow => self.check_workflow(&session).await,
            Step::Complete => {
                self.write(&session, |status| {
                    status.phase(Phase::Completed);
                    status.complete();
                    status.condition("Ready", false, "Completed", "Runner exited with code 0");
                })
                .await?;
                self.delete_run(name).await
            }
            Step::Fail(message) => {
                self.write(&session, |status| {
                    status.phase(Phase::Failed);
                    status.complete();
                    status.condition("Ready", false, "PodFailed", &message);
                })
                .await?;
                self.delete_run(name).await
            }
            Step::Stop { pending } => {
                self.write(&session, |status| {
                    status.phase(Phase::Stopping);
                    if pending {
                        status.condition("RunnerStarted", false, "UserStopped", "Stopped by the user");
                    }
                })
                .await?;
                self.delete_run(name).await
            }
            Step::MarkStopped => {
                self.write(&session, |status| {
                    status.phase(Phase::Stopped);
                    status.complete();
                    status.condition("Ready", false, "Stopped", "Stopped by the user");
                    status.existing_condition("RunnerStarted", false, "UserStopped", "Stopped by the user");
                })
                .await?;
                Ok(Next::Wait)
            }
            Step::CleanUp => self.delete_run(name).await,
        }
    }

    async fn check_workflow(&self, session: &Session) -> Result<Next, OperatorError> {
        let next = self.post_on_drift(session).await?;
        self.clear_requests(session).await?;
        Ok(next)
    }

    async fn post_on_drift(&self, session: &Session) -> Result<Next, OperatorError> {
        let generation = session.metadata.generation.unwrap_or_default();
        let due = drift::would_post(self.mode, true, generation, session);
        let Some(workflow) = session.workflow().filter(|_| due) else { return Ok(Next::Wait) };
        let outcome = self.post(&session.name_any(), &workflow).await;
        tokio::time::sleep(self.settings.condition_delay).await;
        self.write(session, |status| {
            if self.mode != Mode::PostEarly || outcome.is_ok() {
                status.observe_generation();
            }
            status.delivery(&workflow, &outcome);
        })
        .await?;
        let interval = if self.mode == Mode::PostEarly { EARLY_INTERVAL } else { RUNNING_INTERVAL };
        Ok(match outcome {
            Ok(()) => Next::Wait,
            Err(_) => Next::After(self.settings.repost_after.unwrap_or(interval)),
        })
    }

    /// Changes a status that was read earlier and PUTs it as a whole; it conflicts with every write since then.
    pub(crate) async fn write(
        &self,
        session: &Session,
        change: impl FnOnce(&mut StatusEditor<'_>),
    ) -> Result<Session, OperatorError> {
        let mut session = session.clone();
        let generation = session.metadata.generation.unwrap_or_default();
        change(&mut StatusEditor::new(&mut session.data, generation, Timestamp::now()));
        self.sessions
            .replace_status(&session.name_any(), &PostParams::default(), &session)
            .await
            .map_err(failed_to("write the session's status"))
    }

    /// Deletes pod and Service.
    async fn delete_run(&self, session: &str) -> Result<Next, OperatorError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        self.delete(&services, &objects::service_name(session)).await?;
        let had_pod = self.delete(&self.pods, &runner_pod(session)).await?;
        Ok(if had_pod { Next::Wait } else { Next::Again })
    }

    /// Deletes an object; false if it did not exist.
    pub(crate) async fn delete<K>(&self, api: &Api<K>, name: &str) -> Result<bool, OperatorError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(failed_to("delete the session's pod or Service")(error)),
        }
    }

    /// Removes the user's annotations once they have taken effect.
    pub(crate) async fn clear_requests(&self, session: &Session) -> Result<(), OperatorError> {
        if ![DESIRED_PHASE, FORCE_PROMPT].iter().any(|name| session.annotations().contains_key(*name)) {
            return Ok(());
        }
        let requests = json!({ "metadata": { "annotations": { DESIRED_PHASE: null, FORCE_PROMPT: null } } });
        self.sessions
            .patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(requests))
            .await
            .map_err(failed_to("clear the session's annotations"))?;
        Ok(())
    }
}
