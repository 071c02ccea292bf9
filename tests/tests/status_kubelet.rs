//! What a real kubelet makes of an init container that it can't start, has to kill or is told to end. The same rows of
//! the table, and the others, are played out of hand in `controller_rows`.

use std::net::TcpListener;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use workflow_tests::installed::Installed;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, DESIRED_PHASE, SessionBuilder, SessionView};
use workflow_tests::stage::Stage;

const NO_IMAGE: &str = "local.test/no-such-image:1";

/// Waits until the session says so.
async fn says(stage: &Stage, session: &str, reason: &str) -> anyhow::Result<Condition> {
    let says = |condition: &Condition| condition.reason == reason;
    let holds = |session: &_| SessionView::workflow_reconciled(session).as_ref().is_some_and(says);
    let session = stage.session_until(session, reason, holds).await?;
    Ok(session.workflow_reconciled().unwrap_or_default())
}

/// One test, because it changes the configuration that all sessions of the cluster share.
#[tokio::test]
async fn what_the_kubelet_can_not_start_or_has_to_kill_is_said() {
    with_namespace(|namespace| async move {
        let installed = Installed::in_cluster(&namespace.cluster.client);
        let stage = Stage::new(namespace, Mode::PostRunning).await?;
        let small = stage.git.repository("acme/small").file("README.md", "# Small\n").create()?;
        // What is to be written is known as a whole before it is written: so many names take memory.
        let many = (0..90_000).fold(stage.git.repository("acme/large"), |repository, number| {
            repository
                .file(&format!("folder-{}/a-file-with-a-name-{number}", number / 1000), number.to_string())
        });
        let large = many.create()?;
        installed
            .put_back_after(async |config| {
                let others = config.lines().filter(|line| !line.starts_with("image:")).collect::<Vec<_>>();
                installed.configure(&format!("{}\nimage: {NO_IMAGE}\n", others.join("\n"))).await?;
                stage.create(SessionBuilder::new("no-image").workflow(small.url(), "main")).await?;
                let condition = says(&stage, "no-image", "ImagePullFailed").await?;
                assert!(condition.message.contains(NO_IMAGE), "{condition}");

                installed.configure(&format!("{config}\nresources: {{limits: {{memory: 16Mi}}}}\n")).await?;
                stage.create(SessionBuilder::new("large").workflow(large.url(), "main")).await?;
                let condition = says(&stage, "large", "OutOfMemory").await?;
                assert!(condition.message.contains("raise `resources`"), "{condition}");
                stage.create(SessionBuilder::new("small").workflow(small.url(), "main")).await?;
                says(&stage, "small", "Reconciled").await?;
                Ok(())
            })
            .await
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_stopped_while_fetching_was_interrupted() {
    with_namespace(|namespace| async move {
        let stage = Stage::new(namespace, Mode::PostRunning).await?;
        // A server that takes connections and never says a word.
        let silent = TcpListener::bind((stage.namespace.cluster.git_server_address()?, 0))?;
        let url = format!("https://{}/acme/flow.git", silent.local_addr()?);
        stage.create(SessionBuilder::new("s").workflow(&url, "main")).await?;
        says(&stage, "s", "Fetching").await?;
        tokio::task::spawn_blocking(move || silent.accept().map(|connection| (silent, connection))).await??;

        let stop = Patch::Merge(json!({ "metadata": { "annotations": { DESIRED_PHASE: "Stopped" } } }));
        stage.sessions().patch("s", &PatchParams::default(), &stop).await?;
        let condition = says(&stage, "s", "Interrupted").await?;
        assert!(condition.message.contains("restart the session"), "{condition}");
        Ok(())
    })
    .await;
}
