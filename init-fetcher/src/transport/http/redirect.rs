//! Redirects that are followed, and the URLs of later requests. Pure.
//!
//! A redirect is followed only for the first request (`info/refs`): the ones after it carry bodies and
//! use the URL at which the first one ended. The policy on hosts and schemes applies to each step, https stays
//! https, and credentials are not sent to another scheme, host or port.

use url::Url;
use workflow_contract::{Policy, Scheme, text};

use crate::transport::TransportError;

/// Maximum number of redirects.
pub const MAX_REDIRECTS: u32 = 5;
/// Suffix of a repository's URL in the first request.
pub const INFO_REFS: &str = "/info/refs?service=git-upload-pack";

/// Returns the URL that a redirect of `from` leads to.
///
/// # Errors
/// [`TransportError::BadRedirect`], [`TransportError::RedirectNotAllowed`] and
/// [`TransportError::RedirectToScheme`].
pub fn target(from: &Url, location: Option<&str>, policy: &Policy) -> Result<Url, TransportError> {
    let bad = |why: String| TransportError::BadRedirect { host: host_of(from), why };
    let location = location.ok_or_else(|| bad("without a location".into()))?;
    let mut to = from.join(location).map_err(|_| bad("to something that is not a URL".into()))?;
    // Userinfo from a server is not a credential of this run.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    to.set_fragment(None);
    let shown = shown(&to);
    let Some(scheme) = Scheme::from_name(to.scheme()).filter(|scheme| *scheme != Scheme::Ssh) else {
        return Err(TransportError::RedirectToScheme { to: shown });
    };
    policy
        .check_parts(scheme, to.host_str().unwrap_or_default())
        .map_err(|source| TransportError::RedirectNotAllowed { to: shown.clone(), source })?;
    if from.scheme() == "https" && scheme == Scheme::Http {
        return Err(TransportError::RedirectToScheme { to: shown });
    }
    Ok(to)
}

/// Returns the repository's URL after redirects: the last URL without its suffix. `None` if the server
/// redirected to something else, such as a page for signing in.
pub fn base_of(url: &Url) -> Option<Url> {
    let text = url.as_str().strip_suffix(INFO_REFS)?;
    Url::parse(text).ok()
}

/// Reports whether credentials for one URL may be sent to the other.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Returns a URL's host for messages, with its port if it is not the scheme's own.
pub fn host_of(url: &Url) -> String {
    let host = text::sanitize(url.host_str().unwrap_or_default());
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Returns a URL for messages: without userinfo and query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    text::sanitize(&workflow_contract::url::redacted(url.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::policy::parse_hosts;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn both() -> Policy {
        Policy { schemes: vec![Scheme::Https, Scheme::Http], ..Policy::default() }
    }

    #[test]
    fn follows_within_the_policy() {
        let from = url("https://h/a.git/info/refs?service=git-upload-pack");
        for (location, to) in [
            ("/b.git/info/refs?service=git-upload-pack", "https://h/b.git"),
            ("https://other:8443/b/info/refs?service=git-upload-pack", "https://other:8443/b"),
            ("https://u:p@h/b/info/refs?service=git-upload-pack", "https://h/b"),
        ] {
            let target = target(&from, Some(location), &Policy::default()).unwrap();
            assert_eq!(base_of(&target), Some(url(to)), "{location}");
        }
    }

    #[test]
    fn rejects_targets_outside_the_policy() {
        let policy = Policy { hosts: parse_hosts("h").unwrap(), ..both() };
        let from = url("https://h/a");
        let rejected = target(&from, Some("https://evil/a"), &policy);
        assert!(matches!(rejected, Err(TransportError::RedirectNotAllowed { .. })));
        let plain = target(&from, Some("http://h/a"), &Policy::default());
        assert!(matches!(plain, Err(TransportError::RedirectNotAllowed { .. })));
    }

    #[test]
    fn rejects_targets_without_tls() {
        let down = target(&url("https://h/a"), Some("http://h/a"), &both());
        assert!(matches!(down, Err(TransportError::RedirectToScheme { .. })));
        let elsewhere = target(&url("https://h/a"), Some("ftp://h/a"), &both());
        assert!(matches!(elsewhere, Err(TransportError::RedirectToScheme { .. })));
        assert!(target(&url("http://h/a"), Some("https://h/a"), &both()).is_ok());
    }

    #[test]
    fn rejects_unusable_targets() {
        for location in
            [None, Some("ftp://h/a"), Some("ssh://h/a"), Some("https://"), Some("file:///etc/passwd")]
        {
            assert!(target(&url("https://h/a"), location, &both()).is_err(), "{location:?}");
        }
    }

    #[test]
    fn page_for_signing_in_is_no_repository() {
        assert_eq!(base_of(&url("https://h/login?next=/a.git/info/refs")), None);
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        assert!(same_origin(&url("https://h/a"), &url("https://h:443/b")));
        for other in ["http://h/a", "https://h:444/a", "https://sub.h/a", "https://h./a"] {
            assert!(!same_origin(&url("https://h/a"), &url(other)), "{other}");
        }
    }
}
