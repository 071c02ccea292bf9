//! A real kubelet ends the init container of a pod that is deleted while the workflow is being fetched.

use std::net::TcpListener;

use kube::api::DeleteParams;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{SessionBuilder, SessionView};

#[tokio::test]
async fn reports_interrupted_when_the_pod_is_deleted_while_fetching() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        // A server that accepts connections and never responds.
        let silent = TcpListener::bind((env.namespace.cluster.git_server_address()?, 0))?;
        let url = format!("https://{}/acme/flow.git", silent.local_addr()?);
        env.create(SessionBuilder::new("s").workflow(&url, "main")).await?;
        env.until_reason("s", "Fetching").await?;
        tokio::task::spawn_blocking(move || silent.accept().map(|connection| (silent, connection))).await??;

        env.pods().delete("s-runner", &DeleteParams::default()).await?;
        let session = env.until_reason("s", "Interrupted").await?;
        let condition = session.workflow_reconciled().unwrap_or_default();
        assert!(condition.message.contains("restart the session"), "{condition}");
        Ok(())
    })
    .await;
}
