//! One repository over smart HTTP: URLs after redirects, credentials of requests, the meaning of statuses.

pub mod authenticator;
pub mod client;
mod connector;
mod endpoint;
pub mod error;
pub mod identity;
mod proxy;
pub mod redirect;
pub mod response;
mod tls;
pub mod trust;
pub mod verifier;

use url::Url;
use workflow_contract::{Policy, RepoUrl, text};

use super::words::{self, Meaning};
use super::{Remote, TransportError, listing};
use crate::credentials::Credential;
use crate::pack::PackSink;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::Lines;
use crate::protocol::{Listing, ProtocolError, Received, Ref, Want, v0, v2};
use authenticator::Authenticator;
use client::{Client, HttpResponse};
use error::received;
use redirect::{INFO_REFS, MAX_REDIRECTS, base_of, host_of, same_origin};
use response::Body;

const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// A repository whose server has advertised its capabilities.
pub struct SmartHttp<'a, 'c> {
    client: &'c Client,
    authenticator: &'a mut Authenticator<'c>,
    /// The URL as configured: credentials are for its origin only.
    origin: Url,
    /// The URL after redirects.
    base: Url,
    capabilities: Capabilities,
    /// All refs, if the server uses v0, which lists them at once.
    listed: Vec<Ref>,
}

impl<'a, 'c> SmartHttp<'a, 'c> {
    /// Requests the server's capabilities.
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
        loop {
            let (at, response) = discover(client, policy, authenticator, &origin)?;
            match advertised(response, &at, &origin) {
                Err(error)
                    if asks_to_authenticate(&error)
                        && may_authenticate(&origin, &at)
                        && authenticator.advance_from_anonymous()? => {}
                Err(error) => {
                    let tried = || format!("; {}", authenticator.tried(at.scheme()));
                    return Err(listing::classify(&host_of(&at), error, &tried));
                }
                Ok((base, capabilities, listed)) => {
                    return Ok(Self { client, authenticator, origin, base, capabilities, listed });
                }
            }
        }
    }

    /// Sends a request, and again with a credential if the response asks to authenticate.
    fn request<T>(
        &mut self,
        request: &[u8],
        mut read: impl FnMut(Lines<Body>) -> Result<T, ProtocolError>,
    ) -> Result<T, TransportError> {
        loop {
            let response = self.post(request)?;
            match read(Lines::new(response)).map_err(received) {
                Err(error)
                    if asks_to_authenticate(&error)
                        && may_authenticate(&self.origin, &self.base)
                        && self.authenticator.advance_from_anonymous()? => {}
                result => return result,
            }
        }
    }

    fn post(&mut self, body: &[u8]) -> Result<Body, TransportError> {
        let at = with_suffix(&self.base, "/git-upload-pack")?;
        let mut own = vec![("Content-Type", REQUEST), ("Accept", RESULT)];
        if matches!(self.capabilities, Capabilities::V2(_)) {
            own.push(("Git-Protocol", "version=2"));
        }
        let client = self.client;
        let response = send(self.authenticator, &self.origin, &at, |headers| {
            client.post(&at, &[headers, &own].concat(), body)
        })?;
        if response.status().is_redirection() {
            let why = "a request that is never redirected".into();
            return Err(TransportError::BadRedirect { host: host_of(&at), why });
        }
        response::open(response, &at)
    }
}

impl Remote for SmartHttp<'_, '_> {
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError> {
        match self.capabilities {
            Capabilities::V0(_) => Ok(self.listed.clone()),
            Capabilities::V2(_) => {
                let request = v2::ls_refs(listing, &self.capabilities);
                #[allow(
                    clippy::redundant_closure,
                    reason = "the function is not general enough over lifetimes"
                )]
                self.request(&request, |lines| v2::read_refs(lines)).map_err(|error| {
                    let tried = || format!("; {}", self.authenticator.tried(self.base.scheme()));
                    listing::classify(&host_of(&self.base), error, &tried)
                })
            }
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError> {
        let want = want.as_far_as(&self.capabilities);
        if matches!(self.capabilities, Capabilities::V2(_)) {
            self.request(&v2::fetch(want, &self.capabilities), |lines| v2::read_pack(lines, sink))
        } else {
            let capabilities = self.capabilities.clone();
            self.request(&v0::fetch(want, &capabilities), |lines| {
                v0::read_pack(want, &capabilities, lines, sink)
            })
        }
    }
}

/// Requests the advertisement, following redirects. Returns the response and the URL that it is from.
fn discover(
    client: &Client,
    policy: &Policy,
    authenticator: &mut Authenticator,
    origin: &Url,
) -> Result<(Url, HttpResponse), TransportError> {
    let mut at = with_suffix(origin, INFO_REFS)?;
    for _ in 0..=MAX_REDIRECTS {
        let response = send(authenticator, origin, &at, |headers| {
            client.get(&at, &[headers, &[("Git-Protocol", "version=2"), ("Accept", "*/*")]].concat())
        })?;
        if !response.status().is_redirection() {
            return Ok((at, response));
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        at = redirect::target(&at, location, policy)?;
        tracing::info!(to = %host_of(&at), "following a redirect");
    }
    Err(TransportError::BadRedirect { host: host_of(&at), why: format!("more than {MAX_REDIRECTS} times") })
}

/// Reads the advertisement. Returns the repository's URL after redirects and what the server advertises.
fn advertised(
    response: HttpResponse,
    at: &Url,
    origin: &Url,
) -> Result<(Url, Capabilities, Vec<Ref>), TransportError> {
    let body = response::open(response, at).map_err(about_repository)?;
    let base = base_of(at).ok_or_else(|| TransportError::BadRedirect {
        host: host_of(origin),
        why: "to something that is no git repository, such as a page for signing in".into(),
    })?;
    let (capabilities, listed) = listing::read(Lines::new(body), &host_of(&base), received)?;
    Ok((base, capabilities, listed))
}

/// Converts a status that came before anything in particular was requested, so that its words are about the repository.
fn about_repository(error: TransportError) -> TransportError {
    match error {
        TransportError::Status { host, words, .. } if words::meaning(&words) == Some(Meaning::Missing) => {
            TransportError::NotFound { host, words }
        }
        // go-git v6 responds so, without a word about the reason.
        TransportError::Status { host, status: 500, words, after } => {
            let words = format!("{words}; some servers respond so if the repository does not exist");
            TransportError::Status { host, status: 500, words, after }
        }
        other => other,
    }
}

/// Words of error lines by which servers limit anonymous requests.
const ASKS_TO_AUTHENTICATE: [&str; 3] = ["authenticat", "anonymous", "rate limit"];

fn asks_to_authenticate(error: &TransportError) -> bool {
    let TransportError::Protocol(ProtocolError::Server(words)) = error else { return false };
    let words = words.to_lowercase();
    ASKS_TO_AUTHENTICATE.iter().any(|part| words.contains(part))
}

fn may_authenticate(origin: &Url, at: &Url) -> bool {
    at.scheme() == "https" && same_origin(origin, at)
}

/// Sends a request, and again with the next credential each time the server demands another.
fn send(
    authenticator: &mut Authenticator,
    origin: &Url,
    at: &Url,
    request: impl Fn(&[(&str, &str)]) -> Result<HttpResponse, TransportError>,
) -> Result<HttpResponse, TransportError> {
    let authenticates = may_authenticate(origin, at);
    // A repository that is hidden from a credential may be visible to the next.
    let mut hidden = None;
    loop {
        let header = authenticator.current().filter(|_| authenticates).map(Credential::header);
        let response = match &header {
            Some(header) => request(&[("Authorization", header.expose())])?,
            None => request(&[])?,
        };
        let status = response.status().as_u16();
        let advanced = match status {
            401 | 403 | 404 if authenticates => authenticator.advance()?,
            429 if authenticates => authenticator.advance_from_anonymous()?,
            _ => false,
        };
        match status {
            404 if authenticates => match response::open(response, at).map(drop) {
                Err(TransportError::NotFound { host, words }) if advanced => hidden = Some((host, words)),
                Err(TransportError::NotFound { host, words }) => {
                    return Err(not_found(host, &words, authenticator));
                }
                Err(error) => return Err(error),
                Ok(()) => return Err(not_found(host_of(at), "", authenticator)),
            },
            401 | 403 | 429 if advanced => {}
            401 | 403 => {
                return Err(match hidden {
                    Some((host, words)) if !authenticator.lacks_access().is_empty() => {
                        not_found(host, &words, authenticator)
                    }
                    _ => unauthorized(response, authenticator, origin, at),
                });
            }
            _ => return Ok(response),
        }
    }
}

fn not_found(host: String, words: &str, authenticator: &Authenticator) -> TransportError {
    TransportError::NotFound { host, words: format!("{words}{}", authenticator.lacks_access()) }
}

fn unauthorized(
    response: HttpResponse,
    authenticator: &Authenticator,
    origin: &Url,
    at: &Url,
) -> TransportError {
    let tried = if same_origin(origin, at) {
        authenticator.tried(at.scheme())
    } else {
        format!("no credential is sent there, as {} redirected to it; use its own URL", host_of(origin))
    };
    let offered = offered(&response);
    let tried = match response.status().as_u16() {
        // A 403 has many reasons; only the server's own words explain it.
        403 => format!("it responded with 403{}; {tried}", response::quoted_response(response)),
        _ => tried,
    };
    let tried = format!("{tried}{offered}");
    TransportError::Unauthorized { host: host_of(at), tried }
}

/// Names the authentication schemes of `WWW-Authenticate`, as the end of a message; empty if there are none.
fn offered(response: &HttpResponse) -> String {
    let headers = response.headers().get_all("www-authenticate");
    let mut schemes: Vec<String> = Vec::new();
    for part in headers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        // Parameters have a `=`; a scheme is a word before them.
        let word = part.split_whitespace().next().unwrap_or_default();
        let is_scheme = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if is_scheme && !schemes.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            schemes.push(text::sanitize(word));
        }
    }
    let supported = |scheme: &String| ["basic", "bearer"].contains(&scheme.to_lowercase().as_str());
    match schemes.as_slice() {
        [] => String::new(),
        all if all.iter().any(supported) => format!("; it offers {}", all.join(", ")),
        all => format!("; it offers only {}, which is not supported", all.join(", ")),
    }
}

fn with_suffix(base: &Url, suffix: &str) -> Result<Url, TransportError> {
    let text = format!("{}{suffix}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| unusable_url())
}

fn unusable_url() -> TransportError {
    ProtocolError::Malformed("the URL cannot be requested".into()).into()
}
