//! Carries out one step for one session: the edge between the operator's decisions and the API server.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use workflow_contract::names::runner_pod;

use crate::session::{self, DESIRED_PHASE, FORCE_PROMPT, Phase, Session, SessionView};

use super::decide::{Desired, Step, decide};
use super::error::{OperatorError, failed_to};
use super::status::StatusWriter;
use super::{Mode, Settings, delivery, drift, objects, outcome};

/// When to look at a session again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something changes.
    Wait,
    /// When something changes, but no later than this.
    After(Duration),
    /// At once: the step led to another one.
    Again,
}

/// Reconciles the sessions of one namespace, one at a time.
pub(crate) struct Reconciler {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) sessions: Api<Session>,
    pub(super) pods: Api<Pod>,
    pub(super) mode: Mode,
    pub(super) settings: Settings,
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
                self.clear_wishes(&session).await?;
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
            Step::Stop { before_running } => {
                self.write(&session, |status| {
                    status.phase(Phase::Stopping);
                    if before_running {
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
        self.clear_wishes(session).await?;
        Ok(next)
    }

    async fn post_on_drift(&self, session: &Session) -> Result<Next, OperatorError> {
        let generation = session.metadata.generation.unwrap_or_default();
        let Some(workflow) = session.workflow().filter(|_| drift::would_post(self.mode, generation, session))
        else {
            return Ok(Next::Wait);
        };
        let outcome = delivery::post(&self.client, &self.namespace, &session.name_any(), &workflow).await;
        self.write(session, |status| {
            status.observe_generation();
            delivery::record(status, &workflow, &outcome);
        })
        .await?;
        match (self.mode, outcome) {
            (Mode::PostRunning, Err(_)) => Ok(Next::After(self.settings.repost_after)),
            _ => Ok(Next::Wait),
        }
    }

    /// Changes a status that was read earlier and PUTs it as a whole; it conflicts if anybody wrote meanwhile.
    pub(super) async fn write(
        &self,
        session: &Session,
        change: impl FnOnce(&mut StatusWriter<'_>),
    ) -> Result<Session, OperatorError> {
        let mut session = session.clone();
        let generation = session.metadata.generation.unwrap_or_default();
        change(&mut StatusWriter::new(&mut session.data, generation, Timestamp::now()));
        self.sessions
            .replace_status(&session.name_any(), &PostParams::default(), &session)
            .await
            .map_err(failed_to("write the session's status"))
    }

    /// Deletes pod and Service. The next step follows from the pod's end.
    async fn delete_run(&self, session: &str) -> Result<Next, OperatorError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        self.delete(&services, &objects::service_name(session)).await?;
        let had_pod = self.delete(&self.pods, &runner_pod(session)).await?;
        Ok(if had_pod { Next::Wait } else { Next::Again })
    }

    /// Deletes an object, if it exists; tells whether it did.
    pub(super) async fn delete<K>(&self, api: &Api<K>, name: &str) -> Result<bool, OperatorError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(failed_to("delete the session's pod or Service")(error)),
        }
    }

    /// A wish that has been heard is taken off the session, else it would be heard again after this run.
    pub(super) async fn clear_wishes(&self, session: &Session) -> Result<(), OperatorError> {
        if ![DESIRED_PHASE, FORCE_PROMPT].iter().any(|wish| session.annotations().contains_key(*wish)) {
            return Ok(());
        }
        let wishes = json!({ "metadata": { "annotations": { DESIRED_PHASE: null, FORCE_PROMPT: null } } });
        self.sessions
            .patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(wishes))
            .await
            .map_err(failed_to("clear the session's annotations"))?;
        Ok(())
    }
}
