//! Each pod is a new delivery.

use kube::api::DeleteParams;
use workflow_tests::delivered::{expected, found};
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists};

use crate::runs_with_its_workflow;

#[tokio::test]
async fn delivers_again_to_the_pod_that_replaces_a_deleted_one() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "first\n").create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        env.session_until("s", "the first delivery", runs_with_its_workflow).await?;
        let first = env.pod("s").await?;

        repository.extend("main").file("README.md", "second\n").create()?;
        env.pods().delete("s-runner", &DeleteParams::default()).await?;
        let second = until_exists(&env.pods(), "s-runner", "a new pod", TIMEOUT, |pod| {
            pod.metadata.uid != first.metadata.uid
        })
        .await?;
        let commit = repository.commit("main")?;
        let session = env
            .session_until("s", "the second delivery", |session| {
                let message =
                    session.workflow_reconciled().map(|condition| condition.message).unwrap_or_default();
                runs_with_its_workflow(session) && message.contains(&commit)
            })
            .await?;

        let record = env.runner("s").record().await?;
        assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
        assert_eq!(record.values.get("IS_RESUME").map(String::as_str), Some("true"));
        let applied: jiff::Timestamp = session.reconciled_workflow().unwrap().applied_at.parse()?;
        assert!(applied >= second.metadata.creation_timestamp.unwrap().0);
        assert_eq!(env.runner("s").posts().await?, []);
        Ok(())
    })
    .await;
}
