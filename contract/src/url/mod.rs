//! The URL of a workflow's repository, its directory name on disk and its redacted form.
//!
//! The userinfo of a URL is a secret: [`RepoUrl`] displays the URL as its author wrote it without the userinfo, and
//! [`redacted`] does the same, erring on the safe side, for text that is not a URL.

mod page;
mod relative;
mod scheme;
mod scp;

use std::fmt;

pub use crate::redact::redacted;
pub use page::repository_of_page;
pub use scheme::Scheme;

use crate::names::STAGING_PREFIX;
use crate::secret::Secret;
use crate::source::Source;

/// Longest URL, in bytes: it must fit into the termination message.
pub const MAX_URL: usize = 1024;

/// Longest directory name that file systems take, in bytes.
const MAX_NAME: usize = 255;

/// A text that is not the URL of a repository that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A well-formed URL whose scheme is never fetched. This is a matter of policy (exit 11).
    #[error("the scheme of `{url}` is not supported; use https:// or ssh://")]
    Scheme {
        /// The URL, redacted.
        url: String,
    },
    /// Not a URL, or one that does not name a repository.
    #[error("`{url}` is not the URL of a git repository: {why}")]
    Malformed {
        /// The text, redacted.
        url: String,
        why: &'static str,
    },
    /// The address of a web page, recognizable by its query or fragment.
    #[error("`{url}` is not the URL of a git repository: that is the address of a page; use {}", page.settings())]
    Page {
        /// The text, redacted.
        url: String,
        /// The source that the page shows.
        page: Source,
    },
}

/// User name and password of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// User name, or a token.
    pub username: Secret,
    /// Password, empty where there is none.
    pub password: Secret,
}

/// The URL of a repository.
#[derive(Clone, PartialEq, Eq)]
pub struct RepoUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
    /// Path argument of the command on an ssh server; empty for http(s).
    remote_path: String,
    userinfo: Option<UserInfo>,
    shown: String,
    name: String,
    alias: Option<String>,
}

impl RepoUrl {
    /// Parses `https://`, `http://`, `ssh://` or the scp-like `user@host:path`.
    ///
    /// # Errors
    /// [`UrlError::Scheme`] for any other well-formed scheme, otherwise [`UrlError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let malformed = |why| UrlError::Malformed { url: redacted(text), why };
        if text.is_empty() {
            return Err(malformed("it is empty"));
        }
        if text.len() > MAX_URL {
            return Err(malformed("it is longer than 1024 bytes"));
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(malformed("it contains white space or control characters"));
        }
        match text.split_once("://") {
            Some((scheme, rest)) => Self::parse_url(text, scheme, rest),
            None => Self::parse_scp(text),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Self, UrlError> {
        let malformed = |why| UrlError::Malformed { url: redacted(text), why };
        let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !well_formed {
            return Err(malformed("it does not start with a scheme such as https://"));
        }
        let Some(scheme) = Scheme::from_name(scheme) else {
            return Err(UrlError::Scheme { url: redacted(text) });
        };
        let (authority, raw_path) = match rest.find(['/', '?', '#', '\\']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if raw_path.contains(['?', '#'])
            && let Some(page) = repository_of_page(text)
        {
            return Err(UrlError::Page { url: redacted(text), page });
        }
        if raw_path.contains(['?', '#', '\\']) {
            return Err(malformed("it must not contain a query, a fragment or a backslash"));
        }
        if authority.rsplit_once('@').map_or(authority, |(_, host)| host).is_empty() {
            return Err(malformed("it names no host"));
        }
        let parsed = ::url::Url::parse(text).map_err(|_| malformed("host or port is not valid"))?;
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| malformed("it names no host"))?.to_ascii_lowercase();
        if host.starts_with('-') {
            return Err(malformed("host or port is not valid"));
        }
        if parsed.port() == Some(0) {
            return Err(malformed("port 0 cannot be connected to"));
        }
        let (name, alias) = names_on_disk(raw_path).map_err(malformed)?;
        let remote_path = match scheme {
            Scheme::Ssh => remote_path(raw_path).map_err(malformed)?,
            Scheme::Https | Scheme::Http => String::new(),
        };
        let userinfo = authority.rsplit_once('@').map(|(info, _)| {
            let (username, password) = info.split_once(':').unwrap_or((info, ""));
            UserInfo { username: decoded(username), password: decoded(password) }
        });
        let user = userinfo.as_ref().map_or("", |info| info.username.expose());
        if scheme == Scheme::Ssh && !is_user(user) {
            return Err(malformed("the part before @ is not a user name"));
        }
        Ok(Self {
            scheme,
            host,
            port: parsed.port().unwrap_or(scheme.default_port()),
            path: raw_path.to_owned(),
            remote_path,
            userinfo,
            shown: redacted(text),
            name,
            alias: alias.filter(|_| scheme != Scheme::Ssh),
        })
    }

    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host in lower case, internationalized names in ASCII form, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, by default that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path as written, with its leading `/` except in the scp-like form.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path argument of the command on an ssh server, empty for http(s).
    ///
    /// As in git, the path of a URL is percent-decoded and `/~user/…` is relative to that user's home directory.
    #[must_use]
    pub fn remote_path(&self) -> &str {
        &self.remote_path
    }

    /// Returns the credentials in the URL, if any.
    #[must_use]
    pub fn userinfo(&self) -> Option<&UserInfo> {
        self.userinfo.as_ref()
    }

    /// Returns the name of the workflow's directory: the last path segment without `.git`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a second name for the directory: path segment 2 of an http(s) URL that has three or more.
    ///
    /// The platform's runner derives the directory from that segment. `None` if both names are equal.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// Returns the request URL: no userinfo, scheme and host normalized.
    #[must_use]
    pub fn without_userinfo(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        if self.port == self.scheme.default_port() {
            format!("{}://{}{slash}{}", self.scheme, self.host, self.path)
        } else {
            format!("{}://{}:{}{slash}{}", self.scheme, self.host, self.port, self.path)
        }
    }

    /// Returns a URL for `git fetch` in the delivered repository: no password, and no user name except that of ssh,
    /// which is part of the address there and not a credential.
    #[must_use]
    pub fn address(&self) -> String {
        let user = self.userinfo.as_ref().map(|info| info.username.expose()).filter(|user| !user.is_empty());
        match user.filter(|_| self.scheme == Scheme::Ssh) {
            Some(user) if self.path.starts_with('/') && self.shown.contains("://") => {
                let user = percent_encoding::utf8_percent_encode(user, USER_ENCODED);
                self.without_userinfo().replacen("://", &format!("://{user}@"), 1)
            }
            Some(user) if self.port == self.scheme.default_port() => {
                format!("{user}@{}:{}", self.host, self.path)
            }
            Some(user) => format!("[{user}@{}:{}]:{}", self.host, self.port, self.path),
            None => self.without_userinfo(),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RepoUrl").field(&self.shown).finish()
    }
}

/// Returns the names of [`RepoUrl::name`] and [`RepoUrl::alias`].
fn names_on_disk(path: &str) -> Result<(String, Option<String>), &'static str> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let dots = |s: &&str| matches!(s.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if segments.iter().any(dots) {
        return Err("its path must not contain `.` or `..`");
    }
    let last = segments.last().ok_or("its path names no repository")?;
    let name = last.strip_suffix(".git").unwrap_or(last);
    check_name(name)?;
    let alias = match segments.as_slice() {
        [_, second, _, ..] if *second != name => {
            check_name(second)?;
            Some((*second).to_owned())
        }
        _ => None,
    };
    Ok((name.to_owned(), alias))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("its last part names no repository")
    } else if matches!(name, "." | "..") {
        Err("a workflow's directory cannot be called . or ..")
    } else if name.eq_ignore_ascii_case(".git") {
        Err("a workflow's directory cannot be called .git")
    } else if name.starts_with(STAGING_PREFIX) {
        Err("a workflow's directory cannot be called like our staging directories, .init-workflow-…")
    } else if name.len() > MAX_NAME {
        Err("a part of its path is longer than 255 bytes")
    } else {
        Ok(())
    }
}

/// Returns the path of an `ssh://` URL in the form that git passes to the server's command.
fn remote_path(raw: &str) -> Result<String, &'static str> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    let path = decoded.map_err(|_| "its path is not UTF-8 once its percent-encoding is undone")?;
    if path.contains(char::is_control) {
        return Err("its path contains control characters");
    }
    Ok(if path.starts_with("/~") { path[1..].to_owned() } else { path.into_owned() })
}

/// Reports whether `user` can be an ssh user name. A name that looks like an option is rejected, because later users of
/// the URL may pass it to ssh.
fn is_user(user: &str) -> bool {
    !user.starts_with('-') && !user.contains(char::is_control)
}

/// Characters that are percent-encoded in the user part of a URL.
const USER_ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-decodes userinfo; text that is not valid UTF-8 after decoding stays as it is.
fn decoded(text: &str) -> Secret {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    Secret::new(decoded.as_deref().unwrap_or(text))
}

#[cfg(test)]
mod tests;
