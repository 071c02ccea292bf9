//! Carries out one step for one session: the edge between the operator's decisions and the API server.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workflow_contract::names::runner_pod;

use crate::session::{self, DESIRED_PHASE, FORCE_PROMPT, Phase, Session, SessionView};

use super::decide::{Desired, Step, decide};
use super::pod::PodFacts;
use super::status::StatusWriter;
use super::{Mode, Settings, delivery, drift, objects, outcome, pod};

/// Why a step could not be carried out. The operator tries again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A call to the API server failed.
    #[error("failed to {action}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What the API server or the connection to it said.
        source: kube::Error,
    },
    /// An object of the stand-in's own is not what the API expects.
    #[error("failed to make the {kind}")]
    Shape {
        /// Kind of the object.
        kind: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

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
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) sessions: Api<Session>,
    pub(crate) pods: Api<Pod>,
    mode: Mode,
    settings: Settings,
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

    /// Creates Secret, pod and Service, then writes Creating.
    async fn create(&self, session: Session, first: bool) -> Result<Next, OperatorError> {
        let name = session.name_any();
        // Judged by what was read before this run's own start time was written: only the very first attempt is no
        // resume. A refused one already costs the prompt.
        let forced = session.annotations().get(FORCE_PROMPT).is_some_and(|value| value == "true");
        let resume = session.start_time().is_some() && !forced;
        let held = if first {
            self.write(&session, |status| {
                status.phase(Phase::Pending);
                status.begin_run();
            })
            .await?
        } else {
            session
        };
        self.ensure_secret(&held).await?;
        let early = self.post_early(&held).await;
        let shape = pod::pod(
            &held,
            &PodFacts { settings: &self.settings, resume, trusted_ca: self.has_trusted_ca().await? },
        );
        let pod = match self.pods.create(&PostParams::default(), &typed("Pod", shape)?).await {
            Ok(pod) => pod,
            Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(Next::Again),
            Err(error) => {
                let message = format!("failed to create pod: {error}");
                self.write(&held, |status| status.condition("PodCreated", false, "CreateFailed", &message))
                    .await?;
                return Err(failed_to("create the pod")(error));
            }
        };
        self.ensure_service(&name, &pod).await?;
        // The original revision overwrites what was written meanwhile; today's loses its own write to it.
        let held = match self.mode {
            Mode::PostEarly => self.sessions.get(&name).await.map_err(failed_to("read the session"))?,
            Mode::PostRunning | Mode::Plain => held,
        };
        let written = self
            .write(&held, |status| {
                status.phase(Phase::Creating);
                status.observe_generation();
                status.condition("SecretsReady", true, "AllSecretsReady", "Secrets are in place");
                status.condition("S3Available", false, "NotConfigured", "S3 is not configured");
                status.condition("ReposReconciled", true, "Reconciled", "Repositories are reconciled");
                status.condition("PodCreated", true, "PodCreated", "Pod is created");
                if let Some((workflow, outcome)) = &early {
                    delivery::record(status, workflow, outcome);
                }
            })
            .await;
        match written {
            Err(error) if is_conflict(&error) => {
                tracing::warn!(
                    session = name,
                    "the status written after the pod's creation is lost to a conflict"
                );
            }
            other => drop(other?),
        }
        self.clear_wishes(&held).await?;
        // What was lost above is not made up for, but for the phase.
        Ok(Next::Again)
    }

    /// The original bug: the POST goes out before there is a pod.
    async fn post_early(&self, session: &Session) -> Option<(session::Workflow, Result<(), String>)> {
        let generation = session.metadata.generation.unwrap_or_default();
        if self.mode != Mode::PostEarly || !drift::would_post(self.mode, generation, session) {
            return None;
        }
        let workflow = session.workflow()?;
        let outcome = delivery::post(&self.client, &self.namespace, &session.name_any(), &workflow).await;
        Some((workflow, outcome))
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
    async fn write(
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

    async fn ensure_secret(&self, session: &Session) -> Result<(), OperatorError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = session.uid().unwrap_or_default();
        let token = || format!("{:016x}", RandomState::new().hash_one(&uid));
        let secret = objects::secret(&session.name_any(), &uid, [&token(), &token()]);
        create_if_missing(&secrets, &typed("Secret", secret)?)
            .await
            .map_err(failed_to("create the Secret"))?;
        Ok(())
    }

    /// A Service that an earlier pod owns would be collected together with that pod: it is replaced.
    async fn ensure_service(&self, session: &str, pod: &Pod) -> Result<(), OperatorError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = pod.uid().unwrap_or_default();
        let service = typed("Service", objects::service(session, &pod.name_any(), &uid))?;
        if !create_if_missing(&services, &service).await.map_err(failed_to("create the Service"))? {
            self.delete(&services, &objects::service_name(session)).await?;
            create_if_missing(&services, &service).await.map_err(failed_to("replace the Service"))?;
        }
        Ok(())
    }

    async fn has_trusted_ca(&self) -> Result<bool, OperatorError> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = config_maps.get_opt(pod::TRUSTED_CA).await.map_err(failed_to("read the CA bundle"))?;
        Ok(found.is_some())
    }

    /// Deletes pod and Service. The next step follows from the pod's end.
    async fn delete_run(&self, session: &str) -> Result<Next, OperatorError> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        self.delete(&services, &objects::service_name(session)).await?;
        let had_pod = self.delete(&self.pods, &runner_pod(session)).await?;
        Ok(if had_pod { Next::Wait } else { Next::Again })
    }

    /// Deletes an object, if it exists; tells whether it did.
    async fn delete<K>(&self, api: &Api<K>, name: &str) -> Result<bool, OperatorError>
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
    async fn clear_wishes(&self, session: &Session) -> Result<(), OperatorError> {
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

fn failed_to(action: &'static str) -> impl Fn(kube::Error) -> OperatorError {
    move |source| OperatorError::Api { action, source }
}

fn is_conflict(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
}

fn typed<K: DeserializeOwned>(kind: &'static str, object: Value) -> Result<K, OperatorError> {
    serde_json::from_value(object).map_err(|source| OperatorError::Shape { kind, source })
}

/// Creates an object; tells whether it had to.
async fn create_if_missing<K>(api: &Api<K>, object: &K) -> kube::Result<bool>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}
