//! The platform's own delivery of a workflow: one POST to the runner, whose response does not depend on the files.

use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::json;

use crate::objects::{service_name, token_secret};
use crate::reconcile::Reconciler;
use crate::session::Workflow;
use crate::settings::{Mode, Post};

/// Header with the runner's token; the fake runner has the same constant.
pub const TOKEN_HEADER: &str = "x-runner-token";

impl Reconciler {
    /// POSTs the workflow to the session's runner; the error is the message for the condition.
    pub(crate) async fn post(&self, session: &str, workflow: &Workflow) -> Result<(), String> {
        let service = service_name(session);
        let url = format!("http://{service}.{}.svc.cluster.local:8001/workflow", self.namespace);
        let body = json!({ "gitUrl": workflow.git_url, "branch": workflow.branch(), "path": workflow.path });
        let token = if self.mode == Mode::PostEarly { None } else { self.token(session).await };
        let post = Post { session: session.to_owned(), token, body: body.to_string() };
        let response = match &self.settings.runner {
            Some(runner) => runner(post).await,
            None => self.post_by_proxy(&service, post).await,
        };
        let why = match response {
            Ok(StatusCode::OK) => return Ok(()),
            Ok(status) => format!("status {}", status.as_u16()),
            Err(why) => format!("Post {url:?}: {why}"),
        };
        Err(format!("failed to update workflow: {why}"))
    }

    async fn post_by_proxy(&self, service: &str, post: Post) -> Result<StatusCode, String> {
        let path =
            format!("/api/v1/namespaces/{}/services/http:{service}:8001/proxy/workflow", self.namespace);
        let mut request = Request::post(path).header("Content-Type", "application/json");
        if let Some(token) = post.token {
            request = request.header(TOKEN_HEADER, token);
        }
        let request = request.body(post.body.into_bytes()).map_err(|error| error.to_string())?;
        match self.client.request_text(request).await {
            Ok(_) => Ok(StatusCode::OK),
            // The API server's responses, in the words of a client that connects to the Service itself.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err(format!("dial tcp: lookup {service}: no such host"))
            }
            Err(kube::Error::Api(status)) if status.code == 503 => {
                Err("connect: connection refused".to_owned())
            }
            Err(kube::Error::Api(status)) => {
                StatusCode::from_u16(status.code).map_err(|_| status.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn token(&self, session: &str) -> Option<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let token = secrets.get_opt(&token_secret(session)).await.ok()??.data?.remove("agui-token")?;
        String::from_utf8(token.0).ok()
    }
}
