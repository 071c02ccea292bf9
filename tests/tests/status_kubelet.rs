//! What a real kubelet makes of an init container that it can't start or has to kill. The same rows of the table, and
//! the others, are played out of hand in `controller_rows`.

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use workflow_contract::names::runner_pod;
use workflow_tests::installed::Installed;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Condition, SessionBuilder, SessionView};
use workflow_tests::stage::Stage;
use workflow_tests::wait::{PATIENCE, until};

const NO_IMAGE: &str = "local.test/no-such-image:1";

/// Waits until the session says so.
async fn says(stage: &Stage, session: &str, reason: &str) -> anyhow::Result<Condition> {
    let says = |condition: &Condition| condition.reason == reason;
    let holds = |session: &_| SessionView::workflow_reconciled(session).as_ref().is_some_and(says);
    let session = stage.session_until(session, reason, holds).await?;
    Ok(session.workflow_reconciled().unwrap_or_default())
}

/// One test, alone in its file, because it changes the configuration that all sessions of the cluster share.
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
                // Its pod would wait for ever, and take the room of the next on a small node.
                stage.sessions().delete("no-image", &DeleteParams::default()).await?;
                let gone = |pod: Option<&Pod>| pod.is_none();
                until(&stage.pods(), &runner_pod("no-image"), "its pod to go", PATIENCE, gone).await?;

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
