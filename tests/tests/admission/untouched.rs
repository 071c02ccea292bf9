//! A session pod without a workflow is stored byte for byte as if the injector did not exist.
//!
//! Each pod is created twice with `dryRun=All`, which runs all of admission without storing it: once as the operator
//! creates it, and once with another spelling of the label that the registration selects, so that the injector is not
//! called. But for that label, the uid and the time, the API server's two responses must be equal.

use http::Request;
use kube::api::PostParams;
use serde_json::Value;
use workflow_contract::names::{INIT_CONTAINER, SESSION_LABEL};
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::session::{self, SessionBuilder, SessionView};

/// As long as the real label, and sorted alike.
const OTHER_LABEL: &str = "agentic-sessioN";

/// Returns the pod that the API server would store, without the fields that differ from call to call.
async fn stored(namespace: &TestNamespace, pod: &str) -> anyhow::Result<String> {
    let url = format!("/api/v1/namespaces/{}/pods?dryRun=All&fieldManager=test", namespace.name);
    let request =
        Request::post(url).header("Content-Type", "application/json").body(pod.as_bytes().to_vec())?;
    let text = namespace.cluster.client.request_text(request).await?;
    let value: Value = serde_json::from_str(&text)?;
    let metadata = &value["metadata"];
    // The times of managedFields may be a second later.
    let managed = metadata["managedFields"].as_array().into_iter().flatten();
    let times = managed.map(|entry| &entry["time"]).chain([&metadata["creationTimestamp"]]);
    let text = times.filter_map(Value::as_str).fold(text.clone(), |text, time| text.replace(time, "NOW"));
    let uid = metadata["uid"].as_str().unwrap_or_default();
    Ok(text.replace(uid, "UID").replace(OTHER_LABEL, SESSION_LABEL))
}

/// The responses with and without a call of the injector.
async fn both(namespace: &TestNamespace, session: SessionBuilder) -> anyhow::Result<(String, String)> {
    namespace.cluster.require_injector().await?;
    let sessions = session::api(namespace.cluster.client.clone(), &namespace.name);
    let session = sessions.create(&PostParams::default(), &session.build()).await?;
    let pod = session_pod(&session, &Settings::new("local.test/none:1")).to_string();
    let called = stored(namespace, &pod).await?;
    let not_called = stored(namespace, &pod.replace(SESSION_LABEL, OTHER_LABEL)).await?;
    Ok((called, not_called))
}

#[tokio::test]
async fn leaves_a_session_without_a_workflow_untouched() {
    with_namespace(|namespace| async move {
        let (called, not_called) = both(&namespace, SessionBuilder::new("s")).await?;
        assert_eq!(called, not_called);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn leaves_a_session_with_only_the_variable_of_a_workflow_untouched() {
    with_namespace(|namespace| async move {
        // This one meets the registration's match condition, so the injector is called.
        let session =
            SessionBuilder::new("s").variable("ACTIVE_WORKFLOW_GIT_URL", "https://git.invalid/x.git");
        let (called, not_called) = both(&namespace, session).await?;
        assert_eq!(called, not_called);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn leaves_a_session_that_opted_out_untouched() {
    with_namespace(|namespace| async move {
        let session =
            SessionBuilder::new("s").workflow("https://git.invalid/x.git", "main").without_injection();
        let (called, not_called) = both(&namespace, session).await?;
        assert_eq!(called, not_called);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn injects_a_session_with_a_workflow_and_a_dry_run_changes_no_status() {
    with_namespace(|namespace| async move {
        let session = SessionBuilder::new("s").workflow("https://git.invalid/x.git", "main");
        let (called, not_called) = both(&namespace, session).await?;
        assert!(called.contains(INIT_CONTAINER), "{called}");
        assert!(!not_called.contains(INIT_CONTAINER), "{not_called}");

        let sessions = session::api(namespace.cluster.client.clone(), &namespace.name);
        let session = sessions.get("s").await?;
        assert_eq!(session.workflow_reconciled(), None);
        assert_eq!(session.reconciled_workflow(), None);
        Ok(())
    })
    .await;
}
