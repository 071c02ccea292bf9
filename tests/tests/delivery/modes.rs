//! The bug that the injector exists for, and its absence with the injector, for each revision of the platform's operator.
//!
//! The bug is reproduced on the same cluster by a session that opts out of injection.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use workflow_contract::names::{INIT_CONTAINER, STAMP_ANNOTATION};
use workflow_tests::delivered::found;
use workflow_tests::env::TestEnv;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::{Mode, UPDATE_FAILED};
use workflow_tests::session::{DESIRED_PHASE, Phase, SessionBuilder, SessionView};

#[tokio::test]
async fn runs_without_its_workflow_when_not_injected() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostEarly).await?;
        let repository =
            env.git.repository("acme/flow").file("README.md", "# Flow\n").branch("dev").create()?;
        let session = SessionBuilder::new("s").workflow(repository.url(), "main").without_injection();
        env.create(session).await?;
        let session = env
            .session_until("s", "phase Running", |session| session.phase() == Some(Phase::Running))
            .await?;

        let condition = session.workflow_reconciled().unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", UPDATE_FAILED));
        assert!(condition.message.contains("no such host"), "{}", condition.message);
        assert_eq!(session.observed_generation(), session.metadata.generation);
        let pod = env.pod("s").await?;
        assert!(!pod.annotations().contains_key(STAMP_ANNOTATION));
        let init = pod.spec.unwrap().init_containers.unwrap_or_default();
        assert!(init.iter().all(|container| container.name != INIT_CONTAINER));
        let record = env.runner("s").record().await?;
        assert_eq!(record.values["ACTIVE_WORKFLOW_GIT_URL"], repository.url());
        assert_eq!(found(&record, "flow"), None);

        // A new source is POSTed once. It is the only POST: the old one was never retried.
        let patch = Patch::Merge(json!({ "spec": { "activeWorkflow": { "branch": "dev" } } }));
        env.sessions().patch("s", &PatchParams::default(), &patch).await?;
        env.session_until("s", "the response to the POST", |session| {
            session.workflow_reconciled().is_some_and(|condition| condition.message.contains("401"))
        })
        .await?;
        let posts = env.runner("s").posts().await?;
        assert_eq!(posts.len(), 1, "{posts:?}");
        assert!(posts[0].body.contains(r#""branch":"dev""#), "{posts:?}");
        Ok(())
    })
    .await;
}

/// Runs a session in this mode with the injector; its runner must receive no POST.
async fn delivers_without_a_post(mode: Mode) {
    with_namespace(move |namespace| async move {
        let env = TestEnv::new(namespace, mode).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        env.session_until("s", "Running with True/Reconciled", |session| {
            let condition = session.workflow_reconciled().unwrap_or_default();
            session.phase() == Some(Phase::Running)
                && (condition.status.as_str(), condition.reason.as_str()) == ("True", "Reconciled")
        })
        .await?;

        // The operator removes the annotation after it has checked the running session once more.
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { DESIRED_PHASE: "Running" } } }));
        env.sessions().patch("s", &PatchParams::default(), &patch).await?;
        let session = env
            .session_until("s", "the operator's next check", |session| {
                !session.annotations().contains_key(DESIRED_PHASE)
            })
            .await?;
        assert_eq!(session.workflow_reconciled().unwrap_or_default().reason, "Reconciled");
        assert_eq!(env.runner("s").posts().await?, []);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn delivers_without_a_post_of_post_early() {
    delivers_without_a_post(Mode::PostEarly).await;
}

#[tokio::test]
async fn delivers_without_a_post_of_post_running() {
    delivers_without_a_post(Mode::PostRunning).await;
}

#[tokio::test]
async fn delivers_without_an_operator_that_posts() {
    delivers_without_a_post(Mode::Plain).await;
}
