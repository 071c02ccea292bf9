//! The URL of a workflow's repository: what it means, what it is called on disk, how it is shown.
//!
//! The userinfo of a URL is a secret. [`RepoUrl`] shows the URL as its author wrote it, less the
//! userinfo; [`redacted`] does the same, on the safe side, for text that is no URL.

use std::fmt;

use crate::secret::Secret;

/// Longest URL, in bytes: it must fit into the termination message.
pub const MAX_URL: usize = 1024;

/// Longest directory name that file systems take, in bytes.
const MAX_NAME: usize = 255;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://`, only where the policy lists it.
    Http,
    /// `ssh://` or `user@host:path`.
    Ssh,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
        }
    }

    /// The port where the URL names none.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Ssh => 22,
        }
    }

    /// The scheme of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Https, Self::Http, Self::Ssh]
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not the URL of a repository that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A URL, but with a scheme that is never fetched by. This one is a matter of policy (exit 11).
    #[error("the scheme of `{url}` is not supported; use https:// or ssh://")]
    Scheme {
        /// The URL, redacted.
        url: String,
    },
    /// No URL, or one that does not name a repository.
    #[error("`{url}` is not the URL of a git repository: {why}")]
    Malformed {
        /// The text, redacted and cut.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// User name and password of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// User name; a token may stand here too.
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
    /// What a command on an ssh server is given as its path.
    remote_path: String,
    userinfo: Option<UserInfo>,
    shown: String,
    name: String,
    alias: Option<String>,
}

impl RepoUrl {
    /// Reads `https://`, `http://`, `ssh://` or `user@host:path`.
    ///
    /// # Errors
    /// [`UrlError::Scheme`] for any other well-formed scheme, [`UrlError::Malformed`] for all else.
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
            return Err(malformed("port 0 can't be connected to"));
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

    fn parse_scp(text: &str) -> Result<Self, UrlError> {
        let malformed = |why| UrlError::Malformed { url: redacted(text), why };
        let no_url = "write it like https://host/owner/repository or git@host:owner/repository";
        let (user, rest) = text.split_once('@').ok_or_else(|| malformed(no_url))?;
        let (host, path) = rest.split_once(':').ok_or_else(|| malformed(no_url))?;
        if user.is_empty() || user.contains(['/', ':']) || !is_user(user) {
            return Err(malformed("the part before @ is not a user name"));
        }
        let host = ::url::Host::parse(host).ok().filter(|_| !host.starts_with('-'));
        let host = host.ok_or_else(|| malformed("the host is not valid"))?;
        if path.starts_with('-') {
            return Err(malformed("its path must not start with `-`"));
        }
        let (name, _) = names_on_disk(path).map_err(malformed)?;
        Ok(Self {
            scheme: Scheme::Ssh,
            host: host.to_string().to_ascii_lowercase(),
            port: Scheme::Ssh.default_port(),
            path: path.to_owned(),
            remote_path: path.to_owned(),
            userinfo: Some(UserInfo { username: Secret::new(user), password: Secret::new("") }),
            shown: redacted(text),
            name,
            alias: None,
        })
    }

    /// How the repository is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case, an internationalised one in its ASCII form, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path as written: with its leading `/`, but for the scp-like form.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path that a command on an ssh server is given: percent-encoding is undone where a URL has it,
    /// and `/~user/…` is a directory of that user, as with git. Empty for http(s).
    #[must_use]
    pub fn remote_path(&self) -> &str {
        &self.remote_path
    }

    /// User name and password, where the URL carries them.
    #[must_use]
    pub fn userinfo(&self) -> Option<&UserInfo> {
        self.userinfo.as_ref()
    }

    /// What the workflow's directory is called: the last segment without `.git`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A second name that the runner looks under: path segment 2 of an http(s) URL that has three
    /// or more (platform.md), unless it is the first name.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The URL that requests are made to: no userinfo, scheme and host normalised.
    #[must_use]
    pub fn without_userinfo(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        if self.port == self.scheme.default_port() {
            format!("{}://{}{slash}{}", self.scheme, self.host, self.path)
        } else {
            format!("{}://{}:{}{slash}{}", self.scheme, self.host, self.port, self.path)
        }
    }

    /// The URL that git can be given later: no password, and no user but ssh's, whose name is no
    /// credential there but part of the address.
    #[must_use]
    pub fn address(&self) -> String {
        let user = self.userinfo.as_ref().map(|info| info.username.expose()).filter(|user| !user.is_empty());
        match user.filter(|_| self.scheme == Scheme::Ssh) {
            Some(user) if self.path.starts_with('/') && self.shown.contains("://") => {
                let user = percent_encoding::utf8_percent_encode(user, USER_ENCODED);
                self.without_userinfo().replacen("://", &format!("://{user}@"), 1)
            }
            Some(user) => format!("{user}@{}:{}", self.host, self.path),
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

/// The text with whatever may be a secret taken out: in a URL what stands before the last `@` of the
/// authority; in a text that is no URL of a repository what stands before the last `@` of all, and
/// what a query or a fragment holds.
#[must_use]
pub fn redacted(text: &str) -> String {
    if !text.contains(['@', '?', '#']) {
        return text.to_owned();
    }
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + 3),
        None => ("", text),
    };
    // A password with a bare `/`, `?`, `#` or `\` makes the authority end early: then the last `@` of
    // all decides.
    let sound = !scheme.is_empty() && !rest.contains(['?', '#', '\\']) && ::url::Url::parse(text).is_ok();
    let end = if sound { rest.find('/').unwrap_or(rest.len()) } else { rest.len() };
    let shown = rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    match shown.find(['?', '#']) {
        Some(at) => format!("{scheme}{}…", &shown[..=at]),
        None => format!("{scheme}{shown}"),
    }
}

/// The directory's name and the runner's second name for it, from a URL's path.
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
    } else if name.starts_with('.') {
        Err("a workflow's directory can't start with a dot")
    } else if name.len() > MAX_NAME {
        Err("a part of its path is longer than 255 bytes")
    } else {
        Ok(())
    }
}

/// The path of an `ssh://` URL as the server's command gets it.
fn remote_path(raw: &str) -> Result<String, &'static str> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    let path = decoded.map_err(|_| "its path is not UTF-8 once its percent-encoding is undone")?;
    if path.contains(char::is_control) {
        return Err("its path contains control characters");
    }
    Ok(if path.starts_with("/~") { path[1..].to_owned() } else { path.into_owned() })
}

/// Whether it can be the name of who logs in; a name that looks like an option is none, as later users of
/// the URL may hand it to ssh.
fn is_user(user: &str) -> bool {
    !user.starts_with('-') && !user.contains(char::is_control)
}

/// What is not written as it is in the user's part of a URL.
const USER_ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Userinfo with its percent-encoding undone; what is not valid UTF-8 then stays as it is.
fn decoded(text: &str) -> Secret {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    Secret::new(decoded.as_deref().unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RepoUrl {
        RepoUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_every_form() {
        for (text, scheme, host, port, name, alias) in [
            ("https://github.com/org/repo.git", Scheme::Https, "github.com", 443, "repo", None),
            ("https://GitHub.com/org/repo/", Scheme::Https, "github.com", 443, "repo", None),
            ("https://gitlab.com/group/sub/repo.git", Scheme::Https, "gitlab.com", 443, "repo", Some("sub")),
            ("https://h:8443/a/repo/repo.git", Scheme::Https, "h", 8443, "repo", None),
            ("http://10.0.0.1:3000/repo", Scheme::Http, "10.0.0.1", 3000, "repo", None),
            ("https://[::1]:8443/a/b", Scheme::Https, "[::1]", 8443, "b", None),
            ("ssh://git@h/a/b/c.git", Scheme::Ssh, "h", 22, "c", None),
            ("git@github.com:org/repo.git", Scheme::Ssh, "github.com", 22, "repo", None),
        ] {
            let url = parse(text);
            assert_eq!(
                (url.scheme(), url.host(), url.port(), url.name(), url.alias()),
                (scheme, host, port, name, alias),
                "{text}"
            );
        }
    }

    #[test]
    fn tells_a_foreign_scheme_from_what_is_no_url() {
        for text in ["ftp://h/r", "git://h/r", "file:///etc/passwd", "svn+ssh://h/r", "ext::sh -c id://x"] {
            let error = RepoUrl::parse(text).unwrap_err();
            assert_eq!(matches!(error, UrlError::Scheme { .. }), !text.contains(' '), "{text}");
        }
        for text in [
            "",
            " https://h/r",
            "https://h/r\n",
            "h/r",
            "not a url",
            "https://",
            "https:///r",
            "https://h",
            "https://h/",
            "https://h:0/r",
            "https://h:x/r",
            "https://h:99999/r",
            "https://h/r?x=1",
            "https://h/r#x",
            "https://h\\r/x",
            "https://h/a/..",
            "https://h/a/%2E%2e",
            "https://h/../r",
            "https://h/.git",
            "https://h/a/.github",
            "https://h/a/.b/c",
            "git@h:",
            "git@h",
            "@h:p",
            "-oProxyCommand=x@h:p",
            "git@-oProxyCommand=x:p",
            "git@h:-x",
            "ssh://-oProxyCommand=x@h/p",
            "ssh://%2doProxyCommand=x@h/p",
            "ssh://-oProxyCommand=x/p",
            "ssh://a%0ab@h/p",
            "ssh://h/a%0ab",
            "ssh://h/a%00",
            "ssh://h/%ff",
            "--upload-pack=x",
            "1s://h/r",
            "git@h:a/..",
            &format!("https://h/{}", "x".repeat(300)),
            &format!("https://h/{}", "x/".repeat(2048)),
        ] {
            assert!(matches!(RepoUrl::parse(text), Err(UrlError::Malformed { .. })), "{text:?}");
        }
    }

    #[test]
    fn shows_the_url_as_written_less_the_userinfo() {
        for (text, shown) in [
            ("https://Example.com/Org/Repo.git", "https://Example.com/Org/Repo.git"),
            ("https://user:s3cret@h/a/b", "https://h/a/b"),
            ("https://s3cret@h:8443/a/b", "https://h:8443/a/b"),
            ("https://u:s3cret@x@h/a@b", "https://h/a@b"),
            ("ssh://git:s3cret@h/a", "ssh://h/a"),
            ("git@h:a/b", "h:a/b"),
        ] {
            let url = parse(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("s3cret"));
        }
    }

    #[test]
    fn errors_never_show_userinfo() {
        for text in [
            "https://u:s3cret@",
            "https//u:s3cret@h/r",
            "https://u:s3/cret@h/r",
            "https://u:s3cret@h:x/r",
            "ftp://u:s3cret@h/r",
            "u:s3cret@h:r",
            "https://u:s3cret @h/r",
            "https://u:s3cret@h/r?x",
            "https://u:12#s3cret@h/r",
            "https://s3cret#x@h/r",
            "https://s3cret?x@h/r",
            "https://u:12\\s3cret@h/r",
            "https://h/r.git?private_token=s3cret",
            "https://h/r#s3cret",
        ] {
            let error = RepoUrl::parse(text).unwrap_err().to_string();
            assert!(!error.contains("s3") && !error.contains("cret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_is_given_the_path_as_git_gives_it() {
        for (text, path) in [
            ("ssh://git@h/srv/a.git", "/srv/a.git"),
            ("ssh://h:2222/~me/a", "~me/a"),
            ("ssh://h/~/a", "~/a"),
            ("ssh://h/a%20b'%27c", "/a b''c"),
            ("git@h:a/b", "a/b"),
            ("git@h:/a/b", "/a/b"),
            ("git@h:~/a%20b", "~/a%20b"),
        ] {
            assert_eq!(parse(text).remote_path(), path, "{text}");
        }
    }

    #[test]
    fn the_address_has_no_credential_but_sshs_user() {
        for (text, address) in [
            ("https://me:s3cret@h/a", "https://h/a"),
            ("ssh://me:s3cret@H:2222/a", "ssh://me@h:2222/a"),
            ("ssh://m%40e%22@h/a", "ssh://m%40e%22@h/a"),
            ("ssh://:s3cret@h/a", "ssh://h/a"),
            ("git@h:a/b", "git@h:a/b"),
            ("git@h:/a/b", "git@h:/a/b"),
        ] {
            assert_eq!(parse(text).address(), address);
        }
    }

    #[test]
    fn userinfo_is_decoded() {
        let url = parse("https://us%40er:p%3Aw%2f@h/r");
        let info = url.userinfo().unwrap();
        assert_eq!((info.username.expose(), info.password.expose()), ("us@er", "p:w/"));
        assert_eq!(url.without_userinfo(), "https://h/r");
        let token = parse("https://t0ken@h:444/r");
        assert_eq!(token.userinfo().unwrap().username.expose(), "t0ken");
        assert_eq!(token.without_userinfo(), "https://h:444/r");
    }
}
