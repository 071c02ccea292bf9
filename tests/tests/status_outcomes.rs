//! Every exit code of the fetch reaches the session, though the platform deletes the failed pod at once.
//!
//! The test plays the kubelet, so this covers the codes that are hard to bring about with containers, too.

use kube::api::PostParams;
use workflow_contract::names::{INIT_CONTAINER, runner_pod};
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Termination};
use workflow_tests::desk::Desk;
use workflow_tests::kubelet::{init_failed, report};
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until, until_exists};

#[tokio::test]
async fn every_exit_code_becomes_its_reason_though_the_pod_is_deleted_at_once() {
    with_namespace(|namespace| async move {
        namespace.cluster.require_injector().await?;
        let desk = Desk::new(namespace, Mode::PostRunning);
        for exit in Exit::ALL.iter().copied().filter(|exit| *exit != Exit::Reconciled) {
            let name = exit.reason().to_lowercase();
            let session = SessionBuilder::new(&name).workflow("https://git.invalid/acme/flow.git", "main");
            desk.sessions.create(&PostParams::default(), &session.build()).await?;
            let creating = |session: &_| SessionView::phase(session) == Some(Phase::Creating);
            until_exists(&desk.sessions, &name, "phase Creating", PATIENCE, creating).await?;

            let message = format!("it ended with {exit}");
            let message =
                Termination { message: message.clone(), details: Some(Details::new(exit)) }.render();
            let failed = init_failed(INIT_CONTAINER, i32::from(exit.code()), &message);
            report(&desk.pods, &runner_pod(&name), &failed).await?;
            until(&desk.pods, &runner_pod(&name), "the pod to go", PATIENCE, |pod| pod.is_none()).await?;

            let session = until_exists(&desk.sessions, &name, exit.reason(), PATIENCE, |session| {
                session.workflow_reconciled().is_some_and(|condition| condition.reason == exit.reason())
            })
            .await?;
            let condition = session.workflow_reconciled().unwrap();
            assert_eq!((condition.status.as_str(), condition.message.as_str()), ("False", message.as_str()));
            assert_eq!(session.reconciled_workflow().unwrap().status, "Failed");
            assert_eq!(session.condition("Ready").unwrap().reason, "PodFailed");
        }
        Ok(())
    })
    .await;
}
