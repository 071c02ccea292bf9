//! Creates a session's pod repeatedly with `dryRun` while the injector is disrupted; detects denials and responses without
//! the init container.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{Sender, channel};
use tokio::task::JoinHandle;
use workflow_contract::names::{INIT_CONTAINER, STAMP_ANNOTATION};

use crate::operator::{Settings, session_pod};
use crate::session::Session;

const PAUSE: Duration = Duration::from_millis(25);

/// Returns this session's pod as the API server would store it.
pub async fn dry_run(pods: &Api<Pod>, session: &Session) -> anyhow::Result<Pod> {
    let mut pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
    pod.metadata.name = Some("dry-run".to_owned());
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry_run, &pod).await.context("create a pod with dryRun")
}

/// The image of a pod's init container, if it has one; it must equal the one in the stamp.
pub fn injected_image(pod: &Pod) -> anyhow::Result<Option<String>> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut ours = containers.filter(|container| container.name == INIT_CONTAINER);
    let Some(image) = ours.next().and_then(|container| container.image.clone()) else { return Ok(None) };
    let stamp = pod.metadata.annotations.as_ref().and_then(|all| all.get(STAMP_ANNOTATION));
    let stamp: Value = serde_json::from_str(stamp.context("there is no stamp")?)?;
    ensure!(stamp["image"] == json!(image), "the stamp names another image than {image}: {stamp}");
    Ok(Some(image))
}

/// Dry runs in the background.
pub struct DryRuns {
    stop: Sender<()>,
    runs: JoinHandle<anyhow::Result<u32>>,
}

impl DryRuns {
    pub fn start(pods: Api<Pod>, session: Session) -> Self {
        let (stop, mut stopped) = channel();
        let runs = tokio::spawn(async move {
            let mut count = 0;
            // A dropped sender stops them, too.
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let pod = dry_run(&pods, &session).await.with_context(|| format!("dry run {count}"))?;
                ensure!(injected_image(&pod)?.is_some(), "dry run {count} has no init container");
                count += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(count)
        });
        Self { stop, runs }
    }

    /// Stops. Fails if one was denied or not injected, or if there was none.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        let count = self.runs.await??;
        ensure!(count > 0, "there was no dry run");
        Ok(())
    }
}
