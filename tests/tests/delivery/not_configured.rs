//! The condition of sessions without a workflow.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};

#[tokio::test]
async fn writes_nothing_without_a_workflow() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        env.create(SessionBuilder::new("without")).await?;
        env.session_until("without", "phase Running", |session| session.phase() == Some(Phase::Running))
            .await?;
        // Once a later session is reconciled, this one would have been written, too.
        env.create(SessionBuilder::new("with").workflow(repository.url(), "main")).await?;
        env.until_reason("with", "Reconciled").await?;

        let session = env.sessions().get("without").await?;
        assert_eq!(session.workflow_reconciled(), None);
        assert_eq!(session.reconciled_workflow(), None);
        let record = env.runner("without").record().await?;
        assert_eq!(record.files, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reports_not_configured_after_the_workflow_is_removed() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::Plain).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        env.until_reason("s", "Reconciled").await?;
        let patch = Patch::Merge(json!({ "spec": { "activeWorkflow": null } }));
        env.sessions().patch("s", &PatchParams::default(), &patch).await?;
        let session = env.until_reason("s", "NotConfigured").await?;
        assert_eq!(session.workflow_reconciled().unwrap().status, "True");
        Ok(())
    })
    .await;
}
