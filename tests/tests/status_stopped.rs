//! What a real kubelet makes of a stop while the workflow is being fetched.

use std::net::TcpListener;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{DESIRED_PHASE, SessionBuilder, SessionView};

#[tokio::test]
async fn a_session_that_is_stopped_while_fetching_was_interrupted() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        // A server that takes connections and never says a word.
        let silent = TcpListener::bind((env.namespace.cluster.git_server_address()?, 0))?;
        let url = format!("https://{}/acme/flow.git", silent.local_addr()?);
        env.create(SessionBuilder::new("s").workflow(&url, "main")).await?;
        env.until_reason("s", "Fetching").await?;
        tokio::task::spawn_blocking(move || silent.accept().map(|connection| (silent, connection))).await??;

        let stop = Patch::Merge(json!({ "metadata": { "annotations": { DESIRED_PHASE: "Stopped" } } }));
        env.sessions().patch("s", &PatchParams::default(), &stop).await?;
        let session = env.until_reason("s", "Interrupted").await?;
        let condition = session.workflow_reconciled().unwrap_or_default();
        assert!(condition.message.contains("restart the session"), "{condition}");
        Ok(())
    })
    .await;
}
