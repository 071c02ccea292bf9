//! The stand-in operator takes sessions through the life that the platform's was observed to give them.
//!
//! The tests play the kubelet themselves, so an API server is all they need. Their sessions opt out of injection: what
//! is looked at is the operator alone.

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use workflow_tests::desk::Desk;
use workflow_tests::kubelet::{self, init_failed, runner_ended};
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{self, DESIRED_PHASE, Phase, SessionBuilder, SessionView};
use workflow_tests::wait::{PATIENCE, until, until_exists};

const URL: &str = "https://git.invalid/acme/flow.git";

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let variables =
        containers.iter().find(|container| container.name == "ambient-code-runner")?.env.as_deref()?;
    variables.iter().find(|variable| variable.name == name)?.value.clone()
}

#[tokio::test]
async fn a_session_becomes_secret_pod_and_service() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s").workflow_path(URL, "dev", "a")).await?;
        let session = desk.in_phase(Phase::Creating).await?;

        assert!(session.start_time().is_some());
        assert_eq!(session.observed_generation(), Some(1));
        let conditions: Vec<_> = session.conditions().into_iter().map(|condition| condition.r#type).collect();
        assert_eq!(conditions, ["SecretsReady", "S3Available", "ReposReconciled", "PodCreated"]);
        let secret = desk.namespace.api::<Secret>().get("ambient-runner-token-s").await?;
        assert_eq!(secret.owner_references()[0].uid, session.uid().unwrap());
        let pod = desk.pods.get("s-runner").await?;
        assert_eq!(variable(&pod, "ACTIVE_WORKFLOW_PATH").as_deref(), Some("a"));
        assert_eq!(variable(&pod, "IS_RESUME"), None);
        let service = desk.namespace.api::<Service>().get("session-s").await?;
        assert_eq!(service.owner_references()[0].uid, pod.uid().unwrap());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_running_runner_makes_the_session_running_and_its_end_completes_it() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s")).await?;
        let session = desk.run().await?;
        assert_eq!(session.condition("RunnerStarted").unwrap().status, "True");

        kubelet::report(&desk.pods, "s-runner", &runner_ended(0)).await?;
        let session = desk.in_phase(Phase::Completed).await?;
        assert!(session.data["status"]["completionTime"].is_string());
        until(&desk.pods, "s-runner", "the pod to go", PATIENCE, |pod| pod.is_none()).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_failed_init_container_fails_the_session_and_takes_pod_and_service_away() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s").workflow(URL, "mian")).await?;
        desk.in_phase(Phase::Creating).await?;
        let failed = init_failed("init-workflow", 22, "no branch \"mian\"; did you mean main?\n{\"v\":1}");
        kubelet::report(&desk.pods, "s-runner", &failed).await?;
        let session = desk.in_phase(Phase::Failed).await?;

        let ready = session.condition("Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "PodFailed"));
        assert_eq!(
            ready.message,
            "Init container init-workflow failed (exit 22): no branch \"mian\"; did you mean main?\n{\"v\":1} - Error"
        );
        assert_eq!(session.condition("RunnerStarted"), None);
        until(&desk.pods, "s-runner", "the pod to go", PATIENCE, |pod| pod.is_none()).await?;
        assert!(desk.namespace.api::<Service>().get_opt("session-s").await?.is_none());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_while_running_is_replaced_as_a_resume() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s")).await?;
        desk.run().await?;
        let first = desk.pods.get("s-runner").await?;
        let long_ago = Patch::Merge(json!({ "status": { "startTime": "2020-01-01T00:00:00Z" } }));
        desk.sessions.patch_status("s", &PatchParams::default(), &long_ago).await?;
        desk.pods.delete("s-runner", &DeleteParams::default()).await?;

        let second = desk.pod_other_than(first.metadata.uid.as_deref()).await?;
        assert_eq!(variable(&second, "IS_RESUME").as_deref(), Some("true"));
        let session = desk.in_phase(Phase::Creating).await?;
        assert_ne!(session.start_time(), Some("2020-01-01T00:00:00Z"));
        let service = desk.namespace.api::<Service>().get("session-s").await?;
        assert_eq!(service.owner_references()[0].uid, second.uid().unwrap());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_pod_is_tried_again_and_costs_the_prompt() {
    with_namespace(|namespace| async move {
        let namespaces: Api<Namespace> = Api::all(namespace.cluster.client.clone());
        let name = namespace.name.clone();
        let enforce = |level| {
            let patch = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } });
            let (namespaces, name) = (namespaces.clone(), name.clone());
            async move { namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await }
        };
        // The platform's pods do not meet this level.
        enforce("restricted").await?;
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s")).await?;
        let refused = until_exists(&desk.sessions, "s", "the refusal", PATIENCE, |session| {
            session.condition("PodCreated").is_some_and(|condition| condition.reason == "CreateFailed")
        })
        .await?;
        assert_eq!(refused.phase(), Some(Phase::Pending));
        assert!(refused.condition("PodCreated").unwrap().message.contains("violates PodSecurity"));

        enforce("privileged").await?;
        let pod = desk.pod_other_than(None).await?;
        assert_eq!(variable(&pod, "IS_RESUME").as_deref(), Some("true"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_status_that_others_wrote_first_never_gets_a_start_time() {
    with_namespace(|namespace| async move {
        let sessions = session::api(namespace.cluster.client.clone(), &namespace.name);
        let session = SessionBuilder::new("s").without_injection().build();
        sessions.create(&PostParams::default(), &session).await?;
        let theirs = json!({ "status": { "conditions": [{ "type": "Theirs", "status": "True" }] } });
        sessions.patch_status("s", &PatchParams::default(), &Patch::Merge(theirs)).await?;

        let desk = Desk::new(namespace, Mode::Plain);
        let session = desk.in_phase(Phase::Creating).await?;
        assert_eq!(session.start_time(), None);
        assert_eq!(session.conditions()[0].r#type, "Theirs");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_user_stops_a_session_and_runs_it_again() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s")).await?;
        desk.run().await?;
        let first = desk.pods.get("s-runner").await?;
        desk.annotate(DESIRED_PHASE, "Stopped").await?;
        desk.in_phase(Phase::Stopped).await?;
        assert!(desk.pods.get_opt("s-runner").await?.is_none());

        desk.annotate(DESIRED_PHASE, "Running").await?;
        let second = desk.pod_other_than(first.metadata.uid.as_deref()).await?;
        assert_eq!(variable(&second, "IS_RESUME").as_deref(), Some("true"));
        let session = until_exists(&desk.sessions, "s", "the wish to be taken off", PATIENCE, |session| {
            !session.annotations().contains_key(DESIRED_PHASE)
        })
        .await?;
        assert_eq!(session.data["status"].get("completionTime"), None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_before_the_runner_ran_says_that_it_did_not_start() {
    with_namespace(|namespace| async move {
        let desk = Desk::new(namespace, Mode::Plain);
        desk.create(SessionBuilder::new("s")).await?;
        desk.in_phase(Phase::Creating).await?;
        desk.annotate(DESIRED_PHASE, "Stopped").await?;
        let session = desk.in_phase(Phase::Stopped).await?;
        let started = session.condition("RunnerStarted").unwrap();
        assert_eq!((started.status.as_str(), started.reason.as_str()), ("False", "UserStopped"));
        Ok(())
    })
    .await;
}
