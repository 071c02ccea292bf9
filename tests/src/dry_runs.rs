//! A session's pod, created again and again with `dryRun` while something is done to the injector: who is refused, or
//! comes back without the init container, is found.

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

/// Time between two.
const PAUSE: Duration = Duration::from_millis(25);

/// What the API server would store of this session's pod.
pub async fn dry_run(pods: &Api<Pod>, session: &Session) -> anyhow::Result<Pod> {
    let mut pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
    pod.metadata.name = Some("asked".to_owned());
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry_run, &pod).await.context("create a pod with dryRun")
}

/// The image of a pod's init container, which must be the one in its stamp; nothing where it has none.
pub fn injected_image(pod: &Pod) -> anyhow::Result<Option<String>> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut ours = containers.filter(|container| container.name == INIT_CONTAINER);
    let Some(image) = ours.next().and_then(|container| container.image.clone()) else { return Ok(None) };
    let stamp = pod.metadata.annotations.as_ref().and_then(|all| all.get(STAMP_ANNOTATION));
    let stamp: Value = serde_json::from_str(stamp.context("there is no stamp")?)?;
    ensure!(stamp["image"] == json!(image), "the stamp names another image than {image}: {stamp}");
    Ok(Some(image))
}

/// Dry runs that go on until they are told to end.
pub struct DryRuns {
    stop: Sender<()>,
    runs: JoinHandle<anyhow::Result<u32>>,
}

impl DryRuns {
    /// Begins, with the pod of this session.
    pub fn begin(pods: Api<Pod>, session: Session) -> Self {
        let (stop, mut stopped) = channel();
        let runs = tokio::spawn(async move {
            let mut count = 0;
            // A sender that is gone is the end, too.
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

    /// Ends. An error where one was refused or not injected, or where there was none at all.
    pub async fn end(self) -> anyhow::Result<()> {
        drop(self.stop);
        let count = self.runs.await??;
        ensure!(count > 0, "nothing was asked");
        Ok(())
    }
}
