//! A session pod without a workflow is stored byte for byte as if the injector did not exist.
//!
//! Each pod is created twice with `dryRun=All`, so it passes through all of admission and is not stored: once as the
//! operator makes it, and once with the label that the registration selects by spelt differently, so that the injector
//! is not asked. But for that label, the uid and the time, the API server's two answers must be equal.

use http::Request;
use kube::api::PostParams;
use serde_json::Value;
use workflow_contract::names::{INIT_CONTAINER, SESSION_LABEL};
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::session::{self, SessionBuilder, SessionView};

/// As long as the real label, and sorted alike.
const OTHER_LABEL: &str = "agentic-sessioN";

/// What the API server would store for this pod, as it says it, without what differs from call to call.
async fn stored(namespace: &TestNamespace, pod: &str) -> anyhow::Result<String> {
    let url = format!("/api/v1/namespaces/{}/pods?dryRun=All&fieldManager=test", namespace.name);
    let request =
        Request::post(url).header("Content-Type", "application/json").body(pod.as_bytes().to_vec())?;
    let text = namespace.cluster.client.request_text(request).await?;
    let value: Value = serde_json::from_str(&text)?;
    let metadata = &value["metadata"];
    // Who changed what when is noted a moment later: that may be the next second.
    let managed = metadata["managedFields"].as_array().into_iter().flatten();
    let times = managed.map(|entry| &entry["time"]).chain([&metadata["creationTimestamp"]]);
    let text = times.filter_map(Value::as_str).fold(text.clone(), |text, time| text.replace(time, "NOW"));
    let uid = metadata["uid"].as_str().unwrap_or_default();
    Ok(text.replace(uid, "UID").replace(OTHER_LABEL, SESSION_LABEL))
}

/// The answers with and without the injector being asked.
async fn both(namespace: &TestNamespace, session: SessionBuilder) -> anyhow::Result<(String, String)> {
    namespace.cluster.require_injector().await?;
    let sessions = session::api(namespace.cluster.client.clone(), &namespace.name);
    let session = sessions.create(&PostParams::default(), &session.build()).await?;
    let pod = session_pod(&session, &Settings::new("local.test/none:1")).to_string();
    let asked = stored(namespace, &pod).await?;
    let not_asked = stored(namespace, &pod.replace(SESSION_LABEL, OTHER_LABEL)).await?;
    Ok((asked, not_asked))
}

#[tokio::test]
async fn a_session_without_a_workflow_is_untouched() {
    with_namespace(|namespace| async move {
        let (asked, not_asked) = both(&namespace, SessionBuilder::new("s")).await?;
        assert_eq!(asked, not_asked);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_variable_that_only_looks_like_a_workflow_is_untouched() {
    with_namespace(|namespace| async move {
        // The registration's condition lets this one through to the injector itself.
        let session =
            SessionBuilder::new("s").variable("ACTIVE_WORKFLOW_GIT_URL", "https://git.invalid/x.git");
        let (asked, not_asked) = both(&namespace, session).await?;
        assert_eq!(asked, not_asked);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_opted_out_is_untouched() {
    with_namespace(|namespace| async move {
        let session =
            SessionBuilder::new("s").workflow("https://git.invalid/x.git", "main").without_injection();
        let (asked, not_asked) = both(&namespace, session).await?;
        assert_eq!(asked, not_asked);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_session_with_a_workflow_is_not_the_same_and_a_dry_run_leaves_nothing_behind() {
    with_namespace(|namespace| async move {
        let session = SessionBuilder::new("s").workflow("https://git.invalid/x.git", "main");
        let (asked, not_asked) = both(&namespace, session).await?;
        assert!(asked.contains(INIT_CONTAINER), "{asked}");
        assert!(!not_asked.contains(INIT_CONTAINER), "{not_asked}");

        let sessions = session::api(namespace.cluster.client.clone(), &namespace.name);
        let session = sessions.get("s").await?;
        assert_eq!(session.workflow_reconciled(), None);
        assert_eq!(session.reconciled_workflow(), None);
        Ok(())
    })
    .await;
}
