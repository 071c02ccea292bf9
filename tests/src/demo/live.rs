//! The part of the demo about running sessions.

use anyhow::bail;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::env::TestEnv;
use crate::live_delivery::{SETTING, with_live_delivery};
use crate::operator::UPDATE_FAILED;
use crate::session::SessionView;

use super::acts::DELIVERED;
use super::follow::follow_on;
use super::moments::Scene;
use super::screen::Screen;

/// (e) The user of the session of part (b), which still runs, chooses another workflow.
pub(super) async fn another_workflow(env: &TestEnv, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    screen.heading("(e) Another workflow in a running session")?;
    screen.line(&format!(
        "component live-delivery and {SETTING}, for as long as this takes (a rollout, some seconds)"
    ))?;
    let repository =
        env.git.repository("acme/release-notes").file("README.md", "# Release notes\n").create()?;
    with_live_delivery(&env.namespace.cluster.client, async || choose(env, repository.url(), screen).await)
        .await?;
    screen.line("-> The running session has its new workflow, and the condition names the commit.")?;
    Ok(())
}

async fn choose(env: &TestEnv, url: &str, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let earlier =
        Scene { session: Some(env.sessions().get(DELIVERED).await?), pod: Some(env.pod(DELIVERED).await?) };
    let workflow = json!({"gitUrl": url, "branch": "main", "path": null});
    let patch = Patch::Merge(json!({"spec": {"activeWorkflow": workflow}}));
    let began = Instant::now();
    let session = env.sessions().patch(DELIVERED, &PatchParams::default(), &patch).await?;
    let generation = session.metadata.generation;
    screen.at(began.elapsed(), &format!("session {DELIVERED} asks for {url} (main)"))?;
    let scene = follow_on(env, DELIVERED, &earlier, began, "the delivery", screen, |scene| {
        scene.session.as_ref().and_then(SessionView::workflow_reconciled).is_some_and(|condition| {
            condition.observed_generation == generation
                && condition.status != "Unknown"
                // The platform's POST, which the delivery follows.
                && condition.reason != UPDATE_FAILED
        })
    })
    .await?;
    let condition = scene.session.and_then(|session| session.workflow_reconciled()).unwrap_or_default();
    if condition.status != "True" {
        bail!("{url} was not delivered: {condition}");
    }
    let readme = env.runner(DELIVERED).file("release-notes/README.md").await?;
    let readme = String::from_utf8_lossy(&readme);
    screen.line(&format!(
        "/workspace/workflows/release-notes/README.md, read by the runner: {}",
        readme.trim()
    ))?;
    Ok(())
}
