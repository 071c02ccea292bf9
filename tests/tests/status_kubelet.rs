//! What a real kubelet makes of an init container whose image is not there. The same row of the table, and the others,
//! are played out of hand in `controller_rows`: a container that runs out of memory, too, as the kernel may keep it
//! going for minutes, at the pace of pages that come and go, before it kills it.

use workflow_tests::env::TestEnv;
use workflow_tests::installed::Installed;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{SessionBuilder, SessionView};

const NO_IMAGE: &str = "local.test/no-such-image:1";

/// One test, alone in its file, because it changes the configuration that all sessions of the cluster share.
#[tokio::test]
async fn an_image_that_is_not_there_is_said() {
    with_namespace(|namespace| async move {
        let installed = Installed::in_cluster(&namespace.cluster.client);
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let small = env.git.repository("acme/small").file("README.md", "# Small\n").create()?;
        installed
            .put_back_after(async |config| {
                let others = config.lines().filter(|line| !line.starts_with("image:")).collect::<Vec<_>>();
                installed.configure(&format!("{}\nimage: {NO_IMAGE}\n", others.join("\n"))).await?;
                env.create(SessionBuilder::new("no-image").workflow(small.url(), "main")).await?;
                let session = env.until_reason("no-image", "ImagePullFailed").await?;
                let condition = session.workflow_reconciled().unwrap_or_default();
                assert!(condition.message.contains(NO_IMAGE), "{condition}");
                Ok(())
            })
            .await
    })
    .await;
}
