//! The platform's token endpoint.

use std::io::Read as _;

use serde::Deserialize;
use url::Url;
use workflow_contract::{Secret, text};

use crate::config::TokenEndpoint;
use crate::transport::http::Client;

/// The endpoint's answer; other fields are of no interest.
#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
}

/// Asks for a token for `github` or `gitlab`; `None` where the platform has none.
///
/// The endpoint is inside the cluster and mostly plain http; its own bearer token is meant
/// for it, and goes nowhere else: no redirect is followed.
///
/// # Errors
/// Why there is no answer, fit for a message.
pub fn ask(client: &Client, endpoint: &TokenEndpoint, provider: &str) -> Result<Option<Secret>, String> {
    const MAX_ANSWER: u64 = 64 << 10;
    let url = Url::parse(&format!("{}/{provider}", endpoint.base))
        .map_err(|_| "BACKEND_API_URL is not a URL".to_owned())?;
    let bearer = Secret::new(&format!("Bearer {}", endpoint.token.expose()));
    let answer = client
        .get(&url, &[("Authorization", bearer.expose()), ("Accept", "application/json")])
        .map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        status => return Err(format!("it answered {status}")),
    }
    let mut body = String::new();
    let read = answer.into_body().into_reader().take(MAX_ANSWER).read_to_string(&mut body);
    read.map_err(|error| text::foreign(&error.to_string()))?;
    // What serde says could quote the answer, and with it the token.
    let answer: TokenAnswer =
        serde_json::from_str(&body).map_err(|_| "its answer is not the expected JSON".to_owned())?;
    let token = Secret::new(&answer.token);
    Ok((!token.is_empty()).then_some(token))
}
