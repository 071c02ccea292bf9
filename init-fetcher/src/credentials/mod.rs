//! Which credentials are tried, in which order, and where they may go.
//!
//! Every credential is for exact hosts. The order is: the URL's own, the mounted Secret, the tokens, the
//! platform's endpoint. Each is tried once in a run; one that worked is kept. None is sent over plain
//! http, and none after a redirect to another scheme, host or port (see [`crate::transport::http`]).

mod basic;
mod endpoint;
mod secret;
pub mod ssh;

use std::collections::VecDeque;

use workflow_contract::{RepoUrl, Scheme, Secret};

use crate::config::{CredentialSettings, TokenEndpoint};
use crate::transport::TransportError;
use crate::transport::http::client::Client;
pub use basic::Basic;
use endpoint::NoToken;
use secret::MountedSecret;

/// Something that may give a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Candidate {
    Ready(Basic),
    /// The platform's endpoint, for `github` or `gitlab`; asked only when it comes to that.
    Endpoint(&'static str),
}

/// Gives one credential after the other for one repository.
pub struct Authenticator<'a> {
    client: &'a Client,
    endpoint: Option<&'a TokenEndpoint>,
    queue: VecDeque<Candidate>,
    current: Option<Basic>,
    tried: Vec<String>,
    note: Option<&'static str>,
}

impl<'a> Authenticator<'a> {
    /// For this repository, with what there is.
    pub fn new(client: &'a Client, settings: &'a CredentialSettings, url: &RepoUrl) -> Self {
        let secret = settings.dir.as_deref().map(MountedSecret::read).unwrap_or_default();
        let (queue, note) = candidates(settings, &secret, url);
        let mut authenticator = Self {
            client,
            endpoint: settings.endpoint.as_ref(),
            queue: queue.into(),
            current: None,
            tried: Vec::new(),
            note,
        };
        // The URL's own credential is meant for exactly this request, so it need not wait to be asked for.
        if url.userinfo().is_some()
            && let Some(Candidate::Ready(basic)) = authenticator.queue.pop_front()
        {
            authenticator.try_next(basic);
        }
        authenticator
    }

    /// The credential to send, if any.
    pub fn current(&self) -> Option<&Basic> {
        self.current.as_ref()
    }

    /// What a person should know about credentials that were not used.
    pub fn note(&self) -> Option<&'static str> {
        self.note
    }

    /// Goes on to the next credential; false where there is none left.
    ///
    /// # Errors
    /// [`TransportError::Platform`] where the platform can't be asked now: the next attempt asks again.
    pub fn advance(&mut self) -> Result<bool, TransportError> {
        self.current = None;
        while let Some(candidate) = self.queue.pop_front() {
            let basic = match candidate {
                Candidate::Ready(basic) => Some(basic),
                Candidate::Endpoint(provider) => self.ask(provider)?,
            };
            if let Some(basic) = basic {
                self.try_next(basic);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn try_next(&mut self, basic: Basic) {
        tracing::info!(credential = basic.origin, "trying a credential");
        self.tried.push(basic.origin.to_owned());
        self.current = Some(basic);
    }

    /// What was tried and what else may be done, as the end of a message.
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
        parts.join("; ")
    }

    /// Asks the platform for a token. That it has none, or refuses, leaves this run without.
    fn ask(&mut self, provider: &'static str) -> Result<Option<Basic>, TransportError> {
        let Some(endpoint) = self.endpoint else { return Ok(None) };
        match endpoint::ask(self.client, endpoint, provider) {
            Ok(Some(token)) => return Ok(Some(of_token("a token from the platform", provider, token))),
            Ok(None) => self.tried.push("the platform, which has no token".to_owned()),
            Err(NoToken::Never(why)) => {
                tracing::warn!(%why, "the platform could not be asked for a token");
                self.tried.push(format!("the platform, which could not be asked for a token ({why})"));
            }
            Err(NoToken::Now(error)) => {
                self.queue.push_front(Candidate::Endpoint(provider));
                return Err(TransportError::Platform { provider, source: Box::new(error) });
            }
        }
        Ok(None)
    }
}

/// Everything that may be tried for a repository, in order, and what to say about what is left out.
fn candidates(
    settings: &CredentialSettings,
    secret: &MountedSecret,
    url: &RepoUrl,
) -> (Vec<Candidate>, Option<&'static str>) {
    let mut all = Vec::new();
    if url.scheme() != Scheme::Https {
        return (all, None);
    }
    if let Some(info) = url.userinfo() {
        let (username, password) = (info.username.clone(), info.password.clone());
        all.push(Candidate::Ready(Basic {
            origin: "the URL's own user name and password",
            username,
            password,
        }));
    }
    let (basic, note) = match secret.basic_for(url.host()) {
        Ok(basic) => (basic, None),
        Err(note) => (None, Some(note)),
    };
    all.extend(basic.map(Candidate::Ready));
    for (provider, origin, token, hosts) in [
        ("github", "GITHUB_TOKEN", &settings.github_token, &settings.github_hosts),
        ("gitlab", "GITLAB_TOKEN", &settings.gitlab_token, &settings.gitlab_hosts),
    ] {
        if !hosts.iter().any(|host| host == url.host()) {
            continue;
        }
        match token {
            Some(token) => all.push(Candidate::Ready(of_token(origin, provider, token.clone()))),
            None if settings.endpoint.is_some() => all.push(Candidate::Endpoint(provider)),
            None => {}
        }
    }
    (all, note)
}

/// The user names under which the hosts take tokens as passwords.
fn of_token(origin: &'static str, provider: &str, token: Secret) -> Basic {
    let username = if provider == "github" { "x-access-token" } else { "oauth2" };
    Basic { origin, username: Secret::new(username), password: token }
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
        }
    }

    fn origins(secret: &MountedSecret, url: &str) -> Vec<&'static str> {
        let (all, _) = candidates(&settings(), secret, &RepoUrl::parse(url).unwrap());
        all.iter()
            .map(|candidate| match candidate {
                Candidate::Ready(basic) => basic.origin,
                Candidate::Endpoint(provider) => provider,
            })
            .collect()
    }

    #[test]
    fn the_order_is_url_secret_token_endpoint() {
        let secret = secret(Some("github.com, gitlab.com"));
        assert_eq!(
            origins(&secret, "https://me:pw@github.com/o/r"),
            ["the URL's own user name and password", "the Secret's user name and password", "GITHUB_TOKEN"]
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
    fn a_secret_without_hosts_is_not_used_and_that_is_said() {
        let (all, note) = candidates(&settings(), &secret(None), &RepoUrl::parse("https://h/r").unwrap());
        assert!(all.is_empty() && note.unwrap().contains("no key `hosts`"));
        assert!(secret(Some("*.corp")).basic_for("a.corp").is_err());
    }

    #[test]
    fn the_header_is_basic_and_hidden() {
        let basic = Basic { origin: "x", username: Secret::new("u"), password: Secret::trimmed("p\n") };
        assert_eq!(basic.header().expose(), "Basic dTpw");
        assert!(!format!("{basic:?} {:?}", basic.header()).contains("dTpw"));
        let token = of_token("x", "gitlab", Secret::new("t"));
        assert_eq!(token.username.expose(), "oauth2");
    }
}
