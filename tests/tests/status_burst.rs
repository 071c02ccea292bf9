//! Fifty sessions fail at about the same time, in real pods, which the platform deletes within milliseconds.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};
use workflow_tests::wait::PATIENCE;

const SESSIONS: usize = 50;

#[tokio::test]
async fn fifty_failed_pods_that_are_deleted_at_once_leave_fifty_right_conditions() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        let mut missing: HashSet<String> = (0..SESSIONS).map(|at| format!("s-{at}")).collect();
        stream::iter(missing.iter().map(Ok))
            .try_for_each_concurrent(8, async |name| {
                let session = SessionBuilder::new(name).workflow(repository.url(), "mian");
                env.create(session).await.map(drop)
            })
            .await?;

        let mut sessions =
            watcher(env.sessions(), Config::default()).default_backoff().applied_objects().boxed();
        let all = async {
            while !missing.is_empty() {
                // Errors of a watch pass, or show up as the limit being reached.
                let Some(session) = sessions.try_next().await.unwrap_or_default() else { continue };
                let condition = session.workflow_reconciled().unwrap_or_default();
                if session.phase() == Some(Phase::Failed) && condition.reason == "RefNotFound" {
                    missing.remove(&session.name_any());
                }
            }
        };
        let in_time = tokio::time::timeout(2 * PATIENCE, all).await;
        assert!(in_time.is_ok(), "{} without their condition: {missing:?}", missing.len());
        for session in env.sessions().list(&ListParams::default()).await? {
            let condition = session.workflow_reconciled().unwrap_or_default();
            let name = session.name_any();
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str()),
                ("False", "RefNotFound"),
                "{name}"
            );
            assert!(condition.message.contains("mian") && condition.message.contains("main"), "{condition}");
            assert_eq!(condition.observed_generation, session.metadata.generation, "{name}");
            assert_eq!(session.condition("RunnerStarted"), None, "{name}: the runner ran");
        }
        Ok(())
    })
    .await;
}
