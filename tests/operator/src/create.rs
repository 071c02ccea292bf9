//! The step from a session without a pod to phase Creating.

use std::hash::{BuildHasher, RandomState};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::session::{FORCE_PROMPT, Phase, Session, SessionView, Workflow};

use crate::error::{OperatorError, failed_to, is_conflict, typed};
use crate::pod::PodInputs;
use crate::reconcile::{Next, Reconciler};
use crate::settings::Mode;
use crate::{drift, objects, pod};

impl Reconciler {
    /// Creates Secret, pod and Service, then writes Creating.
    pub(crate) async fn create(&self, session: Session, first: bool) -> Result<Next, OperatorError> {
        let name = session.name_any();
        // Decided before this run's own start time is written: only the very first attempt is no resume. A denied pod
        // already costs the prompt. The annotation exists in today's revision only.
        let forced = self.mode != Mode::PostEarly
            && session.annotations().get(FORCE_PROMPT).is_some_and(|value| value == "true");
        let resume = session.start_time().is_some() && !forced;
        let current = if first {
            self.write(&session, |status| {
                status.phase(Phase::Pending);
                status.begin_run();
            })
            .await?
        } else {
            session
        };
        self.ensure_secret(&current).await?;
        let early = self.post_early(&current).await;
        let facts = PodInputs { settings: &self.settings, resume, trusted_ca: self.has_trusted_ca().await? };
        let pod = match self.create_pod(&current, pod::pod(&current, &facts)).await {
            Ok(pod) => pod,
            Err(OperatorError::Api { source: kube::Error::Api(status), .. })
                if status.is_already_exists() =>
            {
                return Ok(Next::Again);
            }
            Err(error) => {
                let message = format!("failed to create pod: {}", error.cause());
                self.write(&current, |status| {
                    status.condition("PodCreated", false, "CreateFailed", &message);
                })
                .await?;
                return Err(error);
            }
        };
        self.ensure_service(&name, &pod).await?;
        // The original revision overwrites concurrent writes; today's loses its own write to them.
        let current = match self.mode {
            Mode::PostEarly => self.sessions.get(&name).await.map_err(failed_to("read the session"))?,
            Mode::PostRunning | Mode::Plain => current,
        };
        let written = self
            .write(&current, |status| {
                status.phase(Phase::Creating);
                status.observe_generation();
                status.condition("SecretsReady", true, "AllSecretsReady", "Secrets are in place");
                status.condition("S3Available", false, "NotConfigured", "S3 is not configured");
                status.condition("ReposReconciled", true, "Reconciled", "Repositories are reconciled");
                status.condition("PodCreated", true, "PodCreated", "Pod is created");
                if let Some((workflow, outcome)) = &early {
                    status.delivery(workflow, outcome);
                }
            })
            .await;
        match written {
            Err(error) if is_conflict(&error) => {
                tracing::warn!(session = name, "status after the pod's creation lost to a conflict");
            }
            other => drop(other?),
        }
        self.clear_requests(&current).await?;
        // After a conflict only the phase is written again.
        Ok(Next::Again)
    }

    /// The original bug: the POST goes out before there is a pod.
    async fn post_early(&self, session: &Session) -> Option<(Workflow, Result<(), String>)> {
        let generation = session.metadata.generation.unwrap_or_default();
        if self.mode != Mode::PostEarly || !drift::would_post(self.mode, false, generation, session) {
            return None;
        }
        let workflow = session.workflow()?;
        let outcome = self.post(&session.name_any(), &workflow).await;
        Some((workflow, outcome))
    }

    async fn create_pod(&self, session: &Session, mut pod: Value) -> Result<Pod, OperatorError> {
        if let Some(admit) = self.settings.admission {
            admit(session, &mut pod).map_err(OperatorError::Denied)?;
        }
        self.pods
            .create(&PostParams::default(), &typed("Pod", pod)?)
            .await
            .map_err(failed_to("create the pod"))
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

    /// Replaces a Service that an earlier pod owns, which would be garbage collected together with that pod.
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
}

/// Creates an object; false if it existed.
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
