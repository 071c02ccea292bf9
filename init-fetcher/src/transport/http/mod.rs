//! One repository over smart HTTP: who is asked, with which credential, and what a status means.

pub mod client;
pub mod error;
mod proxy;
pub mod redirect;
mod tls;
mod trust;

use std::io::Read;
use std::time::SystemTime;

use url::Url;
use workflow_contract::{Policy, RepoUrl};

use super::{Remote, TransportError, listing};
use crate::credentials::{Authenticator, Basic};
use crate::pack::PackSink;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::{Lines, server_message};
use crate::protocol::{Listing, ProtocolError, Received, Ref, Want, v0, v2};
use crate::retry::parse_retry_after;
use client::{Answer, Client};
use redirect::{INFO_REFS, MAX_REDIRECTS, base_of, host_of, same_origin};

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// A repository whose server was asked what it can do.
pub struct SmartHttp<'a, 'c> {
    client: &'c Client,
    authenticator: &'a mut Authenticator<'c>,
    /// The URL as asked for: credentials are for its origin only.
    origin: Url,
    /// Where it ended after redirects.
    base: Url,
    capabilities: Capabilities,
    /// All refs, where the server speaks v0 and has listed them unasked.
    listed: Vec<Ref>,
}

impl<'a, 'c> SmartHttp<'a, 'c> {
    /// Asks the server what it can do.
    ///
    /// # Errors
    /// Any [`TransportError`].
    pub fn connect(
        client: &'c Client,
        policy: &Policy,
        authenticator: &'a mut Authenticator<'c>,
        url: &RepoUrl,
    ) -> Result<Self, TransportError> {
        let text = url.without_userinfo();
        let origin = Url::parse(text.trim_end_matches('/')).map_err(|_| unusable_url())?;
        let mut at = with_suffix(&origin, INFO_REFS)?;
        let mut redirects = 0;
        let answer = loop {
            let answer = send(authenticator, &origin, &at, |headers| {
                client.get(&at, &[headers, &[("Git-Protocol", "version=2"), ("Accept", "*/*")]].concat())
            })?;
            if !answer.status().is_redirection() {
                break answer;
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                let why = format!("more than {MAX_REDIRECTS} times");
                return Err(TransportError::BadRedirect { host: host_of(&at), why });
            }
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            at = redirect::target(&at, location, policy)?;
            tracing::info!(to = %host_of(&at), "following a redirect");
        };
        let answer = expect(answer, &at, ADVERTISEMENT)?;
        let base = base_of(&at).ok_or_else(|| TransportError::BadRedirect {
            host: host_of(&origin),
            why: "to something that is no git repository; it may ask for signing in".into(),
        })?;
        let lines = Lines::new(answer.into_body().into_reader());
        let (capabilities, listed) = listing::read(lines, &host_of(&base))?;
        Ok(Self { client, authenticator, origin, base, capabilities, listed })
    }

    fn post(&mut self, body: &[u8]) -> Result<Answer, TransportError> {
        let at = with_suffix(&self.base, "/git-upload-pack")?;
        let mut own = vec![("Content-Type", REQUEST), ("Accept", RESULT)];
        if matches!(self.capabilities, Capabilities::V2(_)) {
            own.push(("Git-Protocol", "version=2"));
        }
        let client = self.client;
        let answer = send(self.authenticator, &self.origin, &at, |headers| {
            client.post(&at, &[headers, &own].concat(), body)
        })?;
        if answer.status().is_redirection() {
            let why = "a request that is never redirected".into();
            return Err(TransportError::BadRedirect { host: host_of(&at), why });
        }
        expect(answer, &at, RESULT)
    }
}

impl Remote for SmartHttp<'_, '_> {
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError> {
        match self.capabilities {
            Capabilities::V0(_) => Ok(self.listed.clone()),
            Capabilities::V2(_) => {
                let answer = self.post(&v2::ls_refs(listing))?;
                v2::read_refs(Lines::new(answer.into_body().into_reader()))
                    .map_err(|error| listing::not_there(host_of(&self.base), error.into()))
            }
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError> {
        let want = want.as_far_as(&self.capabilities);
        if matches!(self.capabilities, Capabilities::V2(_)) {
            let answer = self.post(&v2::fetch(want))?;
            v2::read_pack(Lines::new(answer.into_body().into_reader()), sink).map_err(TransportError::from)
        } else {
            let answer = self.post(&v0::fetch(want))?;
            v0::read_pack(want, Lines::new(answer.into_body().into_reader()), sink)
                .map_err(TransportError::from)
        }
    }
}

/// Sends a request, and again with the next credential each time the server wants another.
fn send(
    authenticator: &mut Authenticator,
    origin: &Url,
    at: &Url,
    request: impl Fn(&[(&str, &str)]) -> Result<Answer, TransportError>,
) -> Result<Answer, TransportError> {
    let may_authenticate = at.scheme() == "https" && same_origin(origin, at);
    loop {
        let header = authenticator.current().filter(|_| may_authenticate).map(Basic::header);
        let answer = match &header {
            Some(header) => request(&[("Authorization", header.expose())])?,
            None => request(&[])?,
        };
        // Some servers say 403 where a credential would help.
        if !matches!(answer.status().as_u16(), 401 | 403) {
            return Ok(answer);
        }
        if !may_authenticate || !authenticator.advance()? {
            return Err(unauthorized(answer, authenticator, origin, at));
        }
    }
}

fn unauthorized(answer: Answer, authenticator: &Authenticator, origin: &Url, at: &Url) -> TransportError {
    let tried = if same_origin(origin, at) {
        authenticator.tried(at.scheme())
    } else {
        format!("no credential is sent there, as {} redirected to it; use its own URL", host_of(origin))
    };
    let tried = match answer.status().as_u16() {
        // Who is asked for a credential says so by 401. What a 403 is about only the server's words can tell.
        403 => format!("it answered 403{}; {tried}", words(answer)),
        _ => tried,
    };
    TransportError::Unauthorized { host: host_of(at), tried }
}

/// The answer if it is the one that a git server gives.
fn expect(answer: Answer, at: &Url, content_type: &str) -> Result<Answer, TransportError> {
    let host = host_of(at);
    let status = answer.status().as_u16();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = header("content-type").unwrap_or("no content type").to_owned();
    if status == 200 {
        if kind == content_type {
            return Ok(answer);
        }
        return Err(TransportError::NotGit {
            host,
            why: format!("it sent {}", server_message(kind.as_bytes())),
        });
    }
    // A date is by the server's clock.
    let now =
        header("date").and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    let after = header("retry-after").and_then(|after| parse_retry_after(after, now));
    let words = words(answer);
    Err(match status {
        404 | 410 => TransportError::NotFound { host, words },
        _ => TransportError::Status { host, status, words, after },
    })
}

/// The beginning of an answer if it is plain text, as the end of a message.
fn words(answer: Answer) -> String {
    let kind = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/plain")) {
        return String::new();
    }
    let mut bytes = Vec::new();
    // What can't be read is not quoted.
    let _ = answer.into_body().into_reader().take(1024).read_to_end(&mut bytes);
    match server_message(&bytes) {
        words if words.is_empty() => words,
        words => format!(": {}", words.trim_end_matches('.')),
    }
}

fn with_suffix(base: &Url, suffix: &str) -> Result<Url, TransportError> {
    let text = format!("{}{suffix}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| unusable_url())
}

fn unusable_url() -> TransportError {
    ProtocolError::Malformed("the URL can't be requested".into()).into()
}
