//! The outcome of an image that a real kubelet can't pull. The other outcomes that a kubelet reports are tested with
//! pods whose status a test writes: the kernel may take minutes to kill a container that is out of memory.

use workflow_tests::env::TestEnv;
use workflow_tests::installed::Installed;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{SessionBuilder, SessionView};

use crate::TURN;

const NO_IMAGE: &str = "local.test/no-such-image:1";

#[tokio::test]
async fn reports_an_image_that_cannot_be_pulled() {
    with_namespace(|namespace| async move {
        let _turn = TURN.lock().await;
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
