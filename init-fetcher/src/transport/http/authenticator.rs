//! Credentials for https: their order, and the hosts that they are for.
//!
//! Every credential is for exact hosts. The order is: a complete one in the URL, the mounted Secret's, the tokens, the
//! platform's endpoint; finally none, unless the first request was sent without. Each is tried once in a run; one that
//! worked is kept. None is sent over plain http, and none after a redirect to another scheme, host or port (see
//! [`super`]).

use std::collections::VecDeque;

use workflow_contract::{RepoUrl, Scheme, Secret};

use super::client::Client;
use super::endpoint::{self, NoToken};
use crate::config::{CredentialSettings, TokenEndpoint};
use crate::credentials::{Credential, MountedSecret};
use crate::transport::TransportError;

/// A step of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    Ready(Credential),
    /// The platform's endpoint, for `github` or `gitlab`; requested only if all before it were denied.
    Endpoint(&'static str),
    /// No credential, after one was denied.
    Anonymous,
}

/// Supplies one credential after the other for one repository.
pub struct Authenticator<'a> {
    client: &'a Client,
    endpoint: Option<&'a TokenEndpoint>,
    queue: VecDeque<Candidate>,
    current: Option<Credential>,
    tried: Vec<String>,
    /// Origins of the credentials that were sent.
    sent: Vec<&'static str>,
    note: Option<&'static str>,
    /// Tokens that are set but not for this host.
    unused_tokens: Vec<String>,
}

impl<'a> Authenticator<'a> {
    pub fn new(
        client: &'a Client,
        settings: &'a CredentialSettings,
        secret: &MountedSecret,
        url: &RepoUrl,
    ) -> Self {
        let (queue, note) = candidates(settings, secret, url);
        let mut authenticator = Self {
            client,
            endpoint: settings.endpoint.as_ref(),
            queue: queue.into(),
            current: None,
            tried: Vec::new(),
            sent: Vec::new(),
            note,
            unused_tokens: unused_tokens(settings, url),
        };
        // The URL's own credential is meant for exactly this request, so it is sent at once.
        if authenticator.queue.back() == Some(&Candidate::Anonymous)
            && let Some(Candidate::Ready(credential)) = authenticator.queue.pop_front()
        {
            authenticator.use_credential(credential);
        }
        authenticator
    }

    /// Returns the credential to send, if any.
    pub fn current(&self) -> Option<&Credential> {
        self.current.as_ref()
    }

    /// Returns a remark on credentials that were not used.
    pub fn note(&self) -> Option<&'static str> {
        self.note
    }

    /// Goes on to the next candidate; false if there is none left.
    ///
    /// # Errors
    /// [`TransportError::Platform`] if the platform's endpoint fails for now: the next attempt requests again.
    pub fn advance(&mut self) -> Result<bool, TransportError> {
        while let Some(candidate) = self.queue.pop_front() {
            let credential = match candidate {
                Candidate::Ready(credential) => Some(credential),
                Candidate::Endpoint(provider) => self.request_token(provider)?,
                Candidate::Anonymous => {
                    self.current = None;
                    self.tried.push("no credential".to_owned());
                    return Ok(true);
                }
            };
            if let Some(credential) = credential {
                self.use_credential(credential);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on to a credential if none is sent so far, as servers limit anonymous requests more.
    pub fn advance_from_anonymous(&mut self) -> Result<bool, TransportError> {
        if self.current.is_some() || !self.sent.is_empty() { Ok(false) } else { self.advance() }
    }

    fn use_credential(&mut self, credential: Credential) {
        tracing::info!(credential = credential.origin, "trying a credential");
        self.tried.push(credential.origin.to_owned());
        self.sent.push(credential.origin);
        self.current = Some(credential);
    }

    /// Describes what was tried and what else may be done, as the end of a message.
    pub fn tried(&self, scheme: &str) -> String {
        let mut parts = Vec::new();
        if scheme == "http" {
            parts.push("credentials are never sent over plain http".to_owned());
        } else if self.tried.is_empty() {
            parts.push(
                "no credential is set for this host (GITHUB_TOKEN, GITLAB_TOKEN, or a Secret with username, \
                 password and hosts)"
                    .to_owned(),
            );
        } else {
            parts.push(format!("tried: {}", self.tried.join(", ")));
        }
        parts.extend(self.note.map(str::to_owned));
        parts.extend(self.unused_tokens.iter().cloned());
        parts.join("; ")
    }

    /// The hint for a repository that was not found with a credential; empty if none was sent.
    pub fn lacks_access(&self) -> String {
        match self.sent.as_slice() {
            [] => String::new(),
            sent => format!(", or the credential tried ({}) may not see it", sent.join(", ")),
        }
    }

    /// Requests a token from the platform; `None` if there is none or the request is denied.
    fn request_token(&mut self, provider: &'static str) -> Result<Option<Credential>, TransportError> {
        let Some(endpoint) = self.endpoint else { return Ok(None) };
        match endpoint::request(self.client, endpoint, provider) {
            Ok(Some(token)) => return Ok(Some(of_token("a token from the platform", provider, token))),
            Ok(None) => self.tried.push("the platform, which has no token".to_owned()),
            Err(NoToken::Permanent(why)) => {
                tracing::warn!(%why, "failed to request a token from the platform");
                self.tried.push(format!("the platform, which could not provide a token ({why})"));
            }
            Err(NoToken::Transient(error)) => {
                self.queue.push_front(Candidate::Endpoint(provider));
                return Err(TransportError::Platform { provider, source: Box::new(error) });
            }
        }
        Ok(None)
    }
}

/// Returns all candidates for a repository in order, and a remark on credentials that are left out.
fn candidates(
    settings: &CredentialSettings,
    secret: &MountedSecret,
    url: &RepoUrl,
) -> (Vec<Candidate>, Option<&'static str>) {
    let mut all = Vec::new();
    if url.scheme() != Scheme::Https {
        return (all, None);
    }
    let complete = url.userinfo().filter(|info| !info.username.is_empty() && !info.password.is_empty());
    all.extend(complete.map(|info| {
        let (username, password) = (info.username.clone(), info.password.clone());
        Candidate::Ready(Credential::basic("the URL's own user name and password", username, password))
    }));
    let note = match secret.is_for(url.host()) {
        Ok(true) => {
            all.extend(secret.credentials(url).into_iter().map(Candidate::Ready));
            None
        }
        Ok(false) => None,
        Err(note) => Some(note),
    };
    for (provider, origin, token, hosts) in tokens(settings) {
        if !hosts.iter().any(|host| host == url.host()) {
            continue;
        }
        match token {
            Some(token) => all.push(Candidate::Ready(of_token(origin, provider, token.clone()))),
            None if settings.endpoint.is_some() => all.push(Candidate::Endpoint(provider)),
            None => {}
        }
    }
    if complete.is_some() {
        all.push(Candidate::Anonymous);
    }
    (all, note)
}

type Token<'a> = (&'static str, &'static str, Option<&'a Secret>, &'a [String]);

/// Provider, variable, value and hosts of the tokens.
fn tokens(settings: &CredentialSettings) -> [Token<'_>; 2] {
    [
        ("github", "GITHUB_TOKEN", settings.github_token.as_ref(), &settings.github_hosts),
        ("gitlab", "GITLAB_TOKEN", settings.gitlab_token.as_ref(), &settings.gitlab_hosts),
    ]
}

/// Names the tokens that are set but not for this host, with the key of config.yaml that changes it.
fn unused_tokens(settings: &CredentialSettings, url: &RepoUrl) -> Vec<String> {
    tokens(settings)
        .into_iter()
        .filter(|(_, _, token, hosts)| token.is_some() && !hosts.iter().any(|host| host == url.host()))
        .map(|(provider, variable, ..)| {
            format!(
                "{variable} is set, but not for this host; add the host to {provider}Hosts in config.yaml"
            )
        })
        .collect()
}

/// Builds the credential of a token: the hosts accept it as the password of a fixed user name.
fn of_token(origin: &'static str, provider: &str, token: Secret) -> Credential {
    let username = if provider == "github" { "x-access-token" } else { "oauth2" };
    Credential::basic(origin, Secret::new(username), token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CredentialSettings {
        CredentialSettings {
            dir: None,
            github_token: Some(Secret::new("gh-token")),
            github_hosts: vec!["github.com".into(), "ghe.corp".into()],
            gitlab_token: None,
            gitlab_hosts: vec!["gitlab.com".into()],
            endpoint: Some(TokenEndpoint { base: "http://b".into(), token: Secret::new("bot") }),
        }
    }

    fn secret(hosts: Option<&str>) -> MountedSecret {
        MountedSecret {
            username: Some(Secret::trimmed("u\n")),
            password: Some(Secret::trimmed("p\n")),
            hosts: hosts.map(str::to_owned),
            ..MountedSecret::default()
        }
    }

    fn origins(secret: &MountedSecret, url: &str) -> Vec<&'static str> {
        let (all, _) = candidates(&settings(), secret, &RepoUrl::parse(url).unwrap());
        all.iter()
            .map(|candidate| match candidate {
                Candidate::Ready(credential) => credential.origin,
                Candidate::Endpoint(provider) => provider,
                Candidate::Anonymous => "none",
            })
            .collect()
    }

    #[test]
    fn order_is_url_secret_token_endpoint_none() {
        let secret = secret(Some("github.com, gitlab.com"));
        assert_eq!(
            origins(&secret, "https://me:pw@github.com/o/r"),
            [
                "the URL's own user name and password",
                "the Secret's user name and password",
                "GITHUB_TOKEN",
                "none"
            ]
        );
        assert_eq!(
            origins(&secret, "https://gitlab.com/o/r"),
            ["the Secret's user name and password", "gitlab"]
        );
    }

    #[test]
    fn hosts_are_exact() {
        let secret = secret(Some("example.com"));
        assert_eq!(origins(&secret, "https://example.com/r").len(), 1);
        for url in [
            "https://a.example.com/r",
            "https://example.com.evil/r",
            "https://github.com.evil/o/r",
            "https://notgithub.com/o/r",
        ] {
            assert!(origins(&secret, url).is_empty(), "{url}");
        }
    }

    #[test]
    fn nothing_goes_over_plain_http() {
        assert!(origins(&secret(Some("github.com")), "http://me:pw@github.com/o/r").is_empty());
    }

    #[test]
    fn secret_without_hosts_is_not_used_and_reported() {
        let (all, note) = candidates(&settings(), &secret(None), &RepoUrl::parse("https://h/r").unwrap());
        assert!(all.is_empty() && note.unwrap().contains("no key `hosts`"));
        assert!(secret(Some("*.corp")).is_for("a.corp").is_err());
    }

    #[test]
    fn user_name_in_the_url_selects_the_user_of_the_secrets_password() {
        let secret = secret(Some("h"));
        let url = |text| RepoUrl::parse(text).unwrap();
        let header = |text| secret.credentials(&url(text))[0].header().expose().to_owned();
        assert_eq!(header("https://alice@h/r"), "Basic YWxpY2U6cA==");
        assert_eq!(header("https://h/r"), "Basic dTpw");
        let (all, _) = candidates(&settings(), &MountedSecret::default(), &url("https://alice@h/r"));
        assert_eq!(all, [], "never sent alone");
    }

    #[test]
    fn bearer_token_follows_the_password() {
        let secret = MountedSecret { bearer: Some(Secret::new("b")), ..secret(Some("h")) };
        assert_eq!(
            origins(&secret, "https://h/r"),
            ["the Secret's user name and password", "the Secret's bearer token"]
        );
        let all = secret.credentials(&RepoUrl::parse("https://h/r").unwrap());
        assert_eq!(all[1].header().expose(), "Bearer b");
    }

    #[test]
    fn tokens_for_other_hosts_are_named_with_their_setting() {
        let unused = |url: &str| unused_tokens(&settings(), &RepoUrl::parse(url).unwrap());
        assert_eq!(
            unused("https://git.corp/o/r"),
            ["GITHUB_TOKEN is set, but not for this host; add the host to githubHosts in config.yaml"]
        );
        assert!(unused("https://github.com/o/r").is_empty());
    }

    #[test]
    fn headers_are_hidden() {
        let basic = Credential::basic("x", Secret::new("u"), Secret::new("p"));
        assert!(!format!("{basic:?} {:?}", basic.header()).contains("dTpw"));
    }
}
