//! The platform's token endpoint.

use std::io::Read as _;

use serde::Deserialize;
use url::Url;
use workflow_contract::Secret;

use super::client::Client;
use super::error::broken;
use super::redirect::host_of;
use crate::config::TokenEndpoint;
use crate::transport::TransportError;

/// The endpoint's response; other fields are ignored.
#[derive(Deserialize)]
struct TokenResponse {
    token: String,
}

/// A request for a token that failed.
pub enum NoToken {
    /// A failure that may pass.
    Transient(TransportError),
    /// Any other failure, worded for a message.
    Permanent(String),
}

impl NoToken {
    fn of(error: TransportError) -> Self {
        match error {
            error if error.retryable().is_some() => Self::Transient(error),
            TransportError::Status { status, .. } => Self::Permanent(format!("it responded with {status}")),
            error => Self::Permanent(error.to_string()),
        }
    }
}

/// Requests a token for `github` or `gitlab`; `None` if the platform has none.
///
/// The endpoint is inside the cluster and mostly plain http. Its bearer token must not reach any other
/// host: no redirect is followed and no proxy is used.
///
/// # Errors
/// [`NoToken`], except for 404.
pub fn request(client: &Client, endpoint: &TokenEndpoint, provider: &str) -> Result<Option<Secret>, NoToken> {
    const MAX_RESPONSE: u64 = 64 << 10;
    let url = Url::parse(&format!("{}/{provider}", endpoint.base))
        .map_err(|_| NoToken::Permanent("BACKEND_API_URL is not a URL".to_owned()))?;
    let bearer = Secret::new(&format!("Bearer {}", endpoint.token.expose()));
    let response = client
        .get_directly(&url, &[("Authorization", bearer.expose()), ("Accept", "application/json")])
        .map_err(NoToken::of)?;
    match response.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        status => {
            let (host, words) = (host_of(&url), String::new());
            return Err(NoToken::of(TransportError::Status { host, status, words, after: None }));
        }
    }
    let mut body = String::new();
    let read = response.into_body().into_reader().take(MAX_RESPONSE).read_to_string(&mut body);
    read.map_err(|error| NoToken::of(broken(&error, "in the platform's response")))?;
    // serde's message could quote the response, and with it the token.
    let response: TokenResponse = serde_json::from_str(&body)
        .map_err(|_| NoToken::Permanent("its response is not the expected JSON".to_owned()))?;
    let token = Secret::trimmed(&response.token);
    Ok((!token.is_empty()).then_some(token))
}
