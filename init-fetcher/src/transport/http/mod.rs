//! One repository over smart HTTP: who is asked, with which credential, and what a status means.

pub mod answer;
pub mod client;
pub mod error;
mod proxy;
pub mod redirect;
mod tls;
mod trust;

use url::Url;
use workflow_contract::{Policy, RepoUrl};

use super::{Remote, TransportError, listing};
use crate::credentials::{Authenticator, Basic};
use crate::pack::PackSink;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::Lines;
use crate::protocol::{Listing, ProtocolError, Received, Ref, Want, v0, v2};
use answer::Body;
use client::{Answer, Client};
use error::received;
use redirect::{INFO_REFS, MAX_REDIRECTS, base_of, host_of, same_origin};

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
        let body = answer::open(answer, &at)?;
        let base = base_of(&at).ok_or_else(|| TransportError::BadRedirect {
            host: host_of(&origin),
            why: "to something that is no git repository; it may ask for signing in".into(),
        })?;
        let lines = Lines::new(body);
        let (capabilities, listed) = listing::read(lines, &host_of(&base), received)?;
        Ok(Self { client, authenticator, origin, base, capabilities, listed })
    }

    fn post(&mut self, body: &[u8]) -> Result<Body, TransportError> {
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
        answer::open(answer, &at)
    }
}

impl Remote for SmartHttp<'_, '_> {
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError> {
        match self.capabilities {
            Capabilities::V0(_) => Ok(self.listed.clone()),
            Capabilities::V2(_) => {
                let answer = self.post(&v2::ls_refs(listing, &self.capabilities))?;
                v2::read_refs(Lines::new(answer))
                    .map_err(|error| listing::not_there(host_of(&self.base), received(error)))
            }
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError> {
        let want = want.as_far_as(&self.capabilities);
        if matches!(self.capabilities, Capabilities::V2(_)) {
            let answer = self.post(&v2::fetch(want, &self.capabilities))?;
            v2::read_pack(Lines::new(answer), sink).map_err(received)
        } else {
            let answer = self.post(&v0::fetch(want, &self.capabilities))?;
            v0::read_pack(want, &self.capabilities, Lines::new(answer), sink).map_err(received)
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
        403 => format!("it answered 403{}; {tried}", answer::quoted_answer(answer)),
        _ => tried,
    };
    TransportError::Unauthorized { host: host_of(at), tried }
}

fn with_suffix(base: &Url, suffix: &str) -> Result<Url, TransportError> {
    let text = format!("{}{suffix}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| unusable_url())
}

fn unusable_url() -> TransportError {
    ProtocolError::Malformed("the URL can't be requested".into()).into()
}
