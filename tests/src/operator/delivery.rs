//! The platform's own delivery of a workflow: one POST to the runner, whose answer says nothing about files.

use http::Request;
use kube::Client;
use serde_json::json;

use crate::session::Workflow;

use super::objects::service_name;
use super::status::StatusWriter;
use workflow_contract::condition::WORKFLOW_RECONCILED;

/// Reason of the condition when the POST failed.
pub const UPDATE_FAILED: &str = "UpdateFailed";
/// Reason of the condition when the POST was answered with 200; the injector uses the same word.
const RECONCILED: &str = "Reconciled";

/// POSTs the workflow to the session's runner; the error is the message that the operator puts on the session.
pub(crate) async fn post(
    client: &Client,
    namespace: &str,
    session: &str,
    workflow: &Workflow,
) -> Result<(), String> {
    let service = service_name(session);
    let url = format!("http://{service}.{namespace}.svc.cluster.local:8001/workflow");
    let body = json!({ "gitUrl": workflow.git_url, "branch": workflow.branch(), "path": workflow.path });
    let request =
        Request::post(format!("/api/v1/namespaces/{namespace}/services/http:{service}:8001/proxy/workflow"))
            .header("Content-Type", "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| error.to_string())?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("failed to update workflow: Post {url:?}: {}", why(&service, &error))),
    }
}

/// The API server's answer in the words of a client that dials the Service itself.
fn why(service: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => format!("dial tcp: lookup {service}: no such host"),
        kube::Error::Api(status) if status.code == 503 => "connect: connection refused".to_owned(),
        other => other.to_string(),
    }
}

/// Writes the outcome of a POST to the status.
pub(crate) fn record(status: &mut StatusWriter<'_>, workflow: &Workflow, outcome: &Result<(), String>) {
    match outcome {
        Ok(()) => {
            status.reconciled_workflow(workflow);
            status.condition(WORKFLOW_RECONCILED, true, RECONCILED, "Workflow updated in the runner");
        }
        Err(error) => status.condition(WORKFLOW_RECONCILED, false, UPDATE_FAILED, error),
    }
}
